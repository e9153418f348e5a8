"""Temporary keys: recognised by their token alone, for as long as they live."""

from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from batchyard.access.keys import CredentialsFileError, KeyRing
from batchyard.access.sessions import TOKEN_LENGTH_MAX, SessionCredentials, SessionKeys
from batchyard.access.task_tokens import SECRET_FILE, TaskTokens, load_or_create_secret
from batchyard.api import sts
from batchyard.model.ids import TaskId
from batchyard.model.roles import explain_role, role_name_of
from batchyard.wire.app import read_wall_clock_ms

from .conftest import ACCOUNT, KEY
from .raw import send_plain

SECRET = b"s" * 32
SESSIONS = SessionKeys(SECRET)
TASK = TaskId("0123456789abcdef" * 2)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/team/reader"
HOUR_MS = 3_600_000


def issue(expires_ms: int, **members) -> SessionCredentials:
    given: dict[str, Any] = {"account": ACCOUNT, "role_arn": ROLE, "session_name": TASK} | members
    return SESSIONS.issue(expires_ms=expires_ms, **given)


def client_with(server, credentials: SessionCredentials, service="sts"):
    return boto3.client(
        service,
        region_name="eu-central-1",
        endpoint_url=server.url,
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret,
        aws_session_token=credentials.token,
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def server(serve):
    async def queues(_call, _request):
        return {"jobQueues": []}

    async def groups(_call, _request):
        return {"logGroups": []}

    handlers = {
        **sts.handlers(),
        ("batch", "DescribeJobQueues"): queues,
        ("logs", "DescribeLogGroups"): groups,
    }
    return serve(handlers, keys=KeyRing([KEY], SESSIONS))


@pytest.mark.aws_documented
def test_a_temporary_key_signs_as_the_assumed_role(server):
    credentials = issue(read_wall_clock_ms() + HOUR_MS)
    answer = client_with(server, credentials).get_caller_identity()

    assert answer["Account"] == ACCOUNT
    assert answer["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/reader/{TASK}"
    assert answer["UserId"].startswith("AROA")
    assert answer["UserId"].endswith(f":{TASK}")
    assert client_with(server, credentials, "batch").describe_job_queues()["jobQueues"] == []
    assert client_with(server, credentials, "logs").describe_log_groups()["logGroups"] == []


@pytest.mark.aws_documented
def test_a_presigned_url_may_carry_the_token(server):
    credentials = issue(read_wall_clock_ms() + HOUR_MS)
    client = client_with(server, credentials)
    url = client.generate_presigned_url("get_caller_identity", HttpMethod="GET")
    assert "X-Amz-Security-Token=" in url
    answer = send_plain(server, "GET", url.removeprefix(server.url))
    assert b"assumed-role/reader/" in answer.body


REFUSED = {
    "sts": ("get_caller_identity", 403, {"expired": "ExpiredToken", "bad": "InvalidClientTokenId"}),
    "batch": ("describe_job_queues", 403, {}),
    "logs": ("describe_log_groups", 400, {}),
}
CODES = {"expired": "ExpiredTokenException", "bad": "UnrecognizedClientException"}
TEXTS = {
    "expired": "The security token included in the request is expired",
    "bad": "The security token included in the request is invalid.",
}


def bad_ones() -> list[SessionCredentials]:
    good = issue(read_wall_clock_ms() + HOUR_MS)
    other = issue(read_wall_clock_ms() + HOUR_MS, session_name="another")
    foreign = SessionKeys(b"t" * 32).issue(
        account=ACCOUNT, role_arn=ROLE, session_name=TASK, expires_ms=good.expires_ms
    )
    return [
        replace(good, token=other.token),
        replace(good, token="made-up"),
        replace(good, token=""),
        replace(good, access_key_id=KEY.id),
        foreign,
    ]


@pytest.mark.aws_documented
@pytest.mark.parametrize("service", list(REFUSED))
def test_expired_and_forged_tokens_are_refused_in_aws_s_words(server, service):
    operation, status, own_codes = REFUSED[service]
    cases = [("bad", each) for each in bad_ones()]
    for kind, credentials in [("expired", issue(read_wall_clock_ms() - 1)), *cases]:
        with pytest.raises(ClientError) as caught:
            getattr(client_with(server, credentials, service), operation)()
        answer = caught.value.response
        assert answer["Error"]["Code"] == own_codes.get(kind, CODES[kind])
        assert answer["Error"]["Message"] == TEXTS[kind]
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.ours_only
def test_a_wrong_secret_does_not_sign(server):
    credentials = replace(issue(read_wall_clock_ms() + HOUR_MS), secret="x" * 40)
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client_with(server, credentials).get_caller_identity()


@pytest.mark.ours_only
def test_a_temporary_key_ends_while_it_is_in_use(serve):
    now = [read_wall_clock_ms()]
    server = serve(sts.handlers(), keys=KeyRing([KEY], SESSIONS), now_ms=lambda: now[0])
    client = client_with(server, issue(now[0] + 1000))
    client.get_caller_identity()
    now[0] += 1000
    with pytest.raises(ClientError, match="ExpiredToken"):
        client.get_caller_identity()


@pytest.mark.ours_only
def test_without_sessions_no_temporary_key_is_known(serve):
    server = serve(sts.handlers())
    credentials = issue(read_wall_clock_ms() + HOUR_MS)
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        client_with(server, credentials).get_caller_identity()


@pytest.mark.ours_only
def test_keys_survive_a_restart_and_show_no_secret():
    credentials = issue(1_000_000)
    again = SessionKeys(SECRET).find(credentials.token)
    assert again is not None
    assert (again.key.id, again.key.secret) == (credentials.access_key_id, credentials.secret)
    assert again.expires_ms == 1_000_000
    assert credentials.secret not in repr(credentials) + repr(again)
    assert credentials.token not in repr(credentials)
    assert len(credentials.access_key_id) == 20
    assert len(credentials.secret) == 40


@pytest.mark.ours_only
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_whatever_is_no_token_of_ours_is_none(text):
    assert SESSIONS.find(text) is None


@pytest.mark.ours_only
@given(st.data())
def test_a_token_changed_in_any_place_is_none(data):
    token = issue(1_000_000).token
    at = data.draw(st.integers(0, len(token) - 5))  # the last characters hold padding
    letter = data.draw(st.sampled_from("abcXYZ019-_").filter(lambda each: each != token[at]))
    assert SESSIONS.find(token[:at] + letter + token[at + 1 :]) is None
    assert SESSIONS.find("A" * (TOKEN_LENGTH_MAX + 1)) is None


@pytest.mark.ours_only
def test_the_secret_is_made_once_and_private(tmp_path):
    secret = load_or_create_secret(tmp_path)
    assert len(secret) == 32
    assert load_or_create_secret(tmp_path) == secret
    assert (tmp_path / SECRET_FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / SECRET_FILE).write_bytes(b"short")
    with pytest.raises(CredentialsFileError, match="remove it to get a new secret"):
        load_or_create_secret(tmp_path)


@pytest.mark.ours_only
def test_a_task_s_tokens_are_its_own_and_the_same_after_a_restart():
    tokens = TaskTokens(SECRET)
    variables = tokens.credentials_variables("http://127.0.0.1:7070", TASK)
    assert variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == (
        f"http://127.0.0.1:7070/batchyard/v1/credentials/{TASK}"
    )
    token = variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
    again = TaskTokens(SECRET)
    assert again.is_credentials_token(TASK, token)
    assert not again.is_credentials_token(TaskId("f" * 32), token)
    assert not again.is_metadata_token(TASK, "default", token)
    assert not TaskTokens(b"t" * 32).is_credentials_token(TASK, token)
    assert not again.is_credentials_token(TASK, "é")


@pytest.mark.aws_documented
def test_a_role_must_be_one_of_the_job_s_account():
    assert explain_role(ROLE, ACCOUNT) is None
    assert role_name_of(ROLE) == "reader"
    text = explain_role(ROLE, "999999999999")
    assert text is not None
    assert text.startswith(f"ECS was unable to assume the role '{ROLE}' that was provided for")
    assert explain_role("reader", ACCOUNT) is not None
    assert explain_role(f"arn:aws:iam::{ACCOUNT}:user/x", ACCOUNT) is not None
