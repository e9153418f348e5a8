"""Secrets are fetched from a real peer, in every form, and never told to anyone else."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import boto3
import msgspec
import pytest

from batchyard.compute.secrets import SecretReader, SecretUnavailable
from batchyard.model.secret_reference import SecretReference, parse_value_from
from tests.fixtures.moto import moto_url as moto_url

REGION = "eu-west-1"
WHOLE = '{"user": "ann", "port": 5433, "on": true, "deep": {"a": [1]}, "q": "\\"\\u00e9"}'
PREFIX = "ResourceInitializationError: unable to pull secrets or registry auth: "
ASM = f"{PREFIX}unable to retrieve secret from asm: "
SSM = f"{PREFIX}unable to retrieve secrets from ssm: "


def refer(value_from: str, region: str = REGION) -> SecretReference:
    return parse_value_from(value_from, region)


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Let nothing of this machine's own set-up for AWS be seen."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")


@pytest.fixture
def reader() -> Iterator[SecretReader]:
    reader = SecretReader()
    yield reader
    reader.close()


@pytest.fixture
def clients(moto_url, monkeypatch):
    """Point server and test at moto, and give the test's own clients of it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", moto_url)
    made = {
        name: boto3.client(name, region_name=REGION, endpoint_url=moto_url)
        for name in ("secretsmanager", "ssm")
    }
    yield made
    for client in made.values():
        client.close()


@pytest.fixture
def secret(clients, request):
    """Make a JSON secret with two versions; give its ARN and the id of the first version."""
    manager = clients["secretsmanager"]
    made = manager.create_secret(
        Name=f"db/{request.node.name[:40]}", SecretString='{"user": "old", "port": 5432}'
    )
    manager.put_secret_value(
        SecretId=made["ARN"],
        SecretString=WHOLE,
    )
    return made["ARN"], made["VersionId"]


@pytest.mark.aws_documented
async def test_a_secret_s_parts_and_versions(reader, secret):
    arn, first_version = secret
    wanted = {
        refer(arn): WHOLE,
        refer(f"{arn}:user::"): "ann",
        refer(f"{arn}:user:AWSPREVIOUS:"): "old",
        refer(f"{arn}:user::{first_version}"): "old",
        refer(f"{arn}::{first_version}"): '{"user": "old", "port": 5432}',
        # What is no string is given as JSON spells it.
        refer(f"{arn}:port::"): "5433",
        refer(f"{arn}:on::"): "true",
        refer(f"{arn}:deep::"): '{"a": [1]}',
        refer(f"{arn}:q::"): '"é',
    }
    assert await reader.read(list(wanted)) == wanted


@pytest.mark.aws_documented
async def test_parameters_by_name_and_by_arn(reader, clients):
    ssm = clients["ssm"]
    names = [f"/many/{number}" for number in range(12)]
    for name in [*names, "plain"]:
        ssm.put_parameter(Name=name, Value=f"value of {name}", Type="SecureString")
    ssm.put_parameter(Name="/list", Value="a,b", Type="StringList")
    arn = f"arn:aws:ssm:{REGION}:123456789012:parameter"
    wanted = {
        **{refer(name): f"value of {name}" for name in names},
        refer("plain"): "value of plain",
        refer("/list"): "a,b",
        refer(f"{arn}/many/3"): "value of /many/3",
        refer(f"{arn}/plain", "us-east-1"): "value of plain",
        refer(f"{arn}/list"): "a,b",
    }
    assert await reader.read(list(wanted)) == wanted


async def refused(reader, *value_froms: str) -> str:
    with pytest.raises(SecretUnavailable) as caught:
        await reader.read([refer(each) for each in value_froms])
    error = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    assert str(error) == error.reason
    assert len(error.reason) <= 255
    return error.reason


@pytest.mark.aws_documented
async def test_failures_are_told_in_the_words_of_the_agent(reader, clients, secret):
    arn, _ = secret
    gone = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:gone-AbCdEf"
    text = "ResourceNotFoundException: Secrets Manager can't find the specified secret."
    assert await refused(reader, gone) == f"{ASM}{gone}: {text}"[:255]
    assert await refused(reader, f"{arn}:none::") == (
        f"{ASM}retrieved secret from Secrets Manager did not contain json key none"
    )
    assert await refused(reader, "/gone/a", "/gone/b") == (
        f"{SSM}invalid parameters: /gone/a, /gone/b"
    )
    plain = clients["secretsmanager"].create_secret(Name="plain", SecretString="hush, no JSON")
    reason = await refused(reader, f"{plain['ARN']}:k::")
    assert reason == f"{ASM}{plain['ARN']}: the secret is no JSON object, so it has no key k"
    binary = clients["secretsmanager"].create_secret(Name="binary", SecretBinary=b"hush")
    assert "no SecretString" in await refused(reader, binary["ARN"])


class Endpoint:
    """An endpoint that answers what the test says, one answer after the other; the last stays."""

    def __init__(self, *answers: tuple[int, dict]) -> None:
        endpoint = self
        self.requests: list[dict] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                endpoint.requests.append(msgspec.json.decode(body))
                status, answer = answers[min(len(endpoint.requests), len(answers)) - 1]
                content = msgspec.json.encode(answer)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_args) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def serve(monkeypatch):
    served: list[Endpoint] = []

    def start(*answers: tuple[int, dict]) -> Endpoint:
        served.append(Endpoint(*answers))
        monkeypatch.setenv("AWS_ENDPOINT_URL", served[-1].url)
        return served[-1]

    yield start
    for each in served:
        each.close()


ARN = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:s-AbCdEf"


@pytest.mark.ours_only
@pytest.mark.parametrize(
    "trouble",
    [(500, {"__type": "InternalServiceError"}), (400, {"__type": "ThrottlingException"})],
)
async def test_trouble_that_passes_is_not_told(reader, serve, trouble):
    endpoint = serve(trouble, (200, {"SecretString": "hush"}))
    assert await reader.read([refer(ARN)]) == {refer(ARN): "hush"}
    assert len(endpoint.requests) == 2


@pytest.mark.ours_only
async def test_a_secret_is_fetched_once_however_many_parts_are_wanted(reader, serve):
    endpoint = serve((200, {"SecretString": '{"a": "1", "b": "2"}'}))
    wanted = [refer(f"{ARN}:a::"), refer(f"{ARN}:b::"), refer(f"{ARN}:a::"), refer(ARN)]
    values = await reader.read(wanted)
    assert endpoint.requests == [{"SecretId": ARN}]
    assert [values[each] for each in wanted] == ["1", "2", "1", '{"a": "1", "b": "2"}']


@pytest.mark.ours_only
async def test_an_endpoint_that_knows_no_arns_is_asked_by_name(reader, serve):
    parameter = {"Name": "/a/b", "Value": "v", "ARN": "arn:aws:ssm:local:0:parameter/a/b"}
    endpoint = serve((200, {"Parameters": []}), (200, {"Parameters": [parameter]}))
    arn = f"arn:aws:ssm:{REGION}:123456789012:parameter/a/b"
    assert await reader.read([refer(arn)]) == {refer(arn): "v"}
    assert [each["Names"] for each in endpoint.requests] == [[arn], ["/a/b"]]


@pytest.mark.ours_only
@pytest.mark.parametrize("value_from", [ARN, "/token"])
async def test_without_credentials_the_reason_says_what_to_set(reader, monkeypatch, value_from):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    reason = await refused(reader, value_from)
    assert "the server has no credentials for it" in reason
    assert "AWS_ACCESS_KEY_ID" in reason
    assert "AWS_PROFILE" in reason


@pytest.mark.ours_only
async def test_an_endpoint_that_is_gone_is_named(reader, serve, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    endpoint = serve((200, {}))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert await refused(reader, ARN) == (
        f'{ASM}Could not connect to the endpoint URL: "http://127.0.0.1:1/"'
    )
    assert endpoint.requests == []


@pytest.mark.ours_only
async def test_an_endpoint_that_never_answers_is_given_up(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        reader = SecretReader(timeout_s=0.05)
        assert await refused(reader, ARN) == f"{PREFIX}no answer within 0.05 s"
        # The call is still under way; let it not find the endpoint of another test.
        connection, _ = await asyncio.to_thread(listener.accept)
        connection.close()
    reader.close()


@pytest.mark.ours_only
async def test_a_value_is_in_no_failure(reader, serve, capfd):
    serve((200, {"SecretString": '{"a": "hush", "b": hush}'}))
    reason = await refused(reader, f"{ARN}:a::")
    assert "hush" not in reason
    assert "hush" not in "".join(capfd.readouterr())


async def test_nothing_wanted_asks_nobody(reader):
    assert await reader.read([]) == {}
