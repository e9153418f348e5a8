"""Errors: the three forms, as botocore reads them, and the answers to what nobody serves."""

import xml.etree.ElementTree as ET

import pytest
from botocore.exceptions import ClientError

from batchyard.access.keys import root_key
from batchyard.model.refusal import Refusal, client_exception
from batchyard.store import StoreTrouble
from batchyard.wire.models import SERVICES, OperationIndex, Protocol

from .conftest import ACCOUNT, KEY, REGION
from .raw import FORM, call, send, send_plain, signed

INDEX = OperationIndex()


def raising(error):
    async def handler(_call, _request):
        raise error

    return handler


def caught(action, **arguments):
    with pytest.raises(ClientError) as info:
        action(**arguments)
    response = info.value.response
    error = response["Error"]
    assert response["ResponseMetadata"]["RequestId"]
    return error["Code"], response["ResponseMetadata"]["HTTPStatusCode"], error["Message"]


@pytest.mark.aws_documented
def test_a_refusal_of_batch_is_a_client_exception(serve):
    server = serve({("batch", "DescribeJobs"): raising(client_exception("no, «thus»"))})
    client = server.client("batch")

    code, status, text = caught(client.describe_jobs, jobs=["x"])

    assert (code, status, text) == ("ClientException", 400, "no, «thus»")
    with pytest.raises(client.exceptions.ClientException):
        client.describe_jobs(jobs=["x"])
    raw = call(server, INDEX.operations["batch", "DescribeJobs"], b'{"jobs":["x"]}')
    assert raw.headers["x-amzn-ErrorType"] == "ClientException"
    assert raw.headers["x-amzn-RequestId"]
    assert raw.json == {
        "__type": "ClientException",
        "code": "ClientException",
        "message": "no, «thus»",
    }


@pytest.mark.aws_documented
def test_a_refusal_may_carry_another_status(serve):
    throttled = Refusal("TooManyRequestsException", "Too Many Requests", http_status=429)
    client = serve({("batch", "DescribeJobs"): raising(throttled)}).client("batch")

    assert caught(client.describe_jobs, jobs=["x"]) == (
        "TooManyRequestsException",
        429,
        "Too Many Requests",
    )


@pytest.mark.aws_documented
def test_a_refusal_of_logs_names_its_type_in_the_body(serve):
    missing = Refusal("ResourceNotFoundException", "The specified log group does not exist.")
    server = serve({("logs", "DescribeLogStreams"): raising(missing)})

    assert caught(server.client("logs").describe_log_streams, logGroupName="g") == (
        "ResourceNotFoundException",
        400,
        "The specified log group does not exist.",
    )


@pytest.mark.aws_documented
@pytest.mark.parametrize(
    ("service", "method", "arguments", "expected"),
    [
        ("batch", "list_jobs", {"jobQueue": "q"}, ("UnrecognizedClientException", 403)),
        ("logs", "describe_log_groups", {}, ("UnrecognizedClientException", 400)),
        ("sts", "get_caller_identity", {}, ("InvalidClientTokenId", 403)),
    ],
)
def test_an_unknown_key_is_refused_in_the_services_form(
    serve, service, method, arguments, expected
):
    stranger = root_key("AKIAXXXXXXXXXXXXXXXX", "secret", ACCOUNT)
    client = serve().client(service, key=stranger)

    assert caught(getattr(client, method), **arguments) == (
        *expected,
        "The security token included in the request is invalid.",
    )


@pytest.mark.aws_documented
@pytest.mark.parametrize(
    ("service", "method", "arguments", "expected"),
    [
        ("batch", "list_jobs", {"jobQueue": "q"}, ("InvalidSignatureException", 403)),
        ("logs", "describe_log_groups", {}, ("InvalidSignatureException", 400)),
        ("sts", "get_caller_identity", {}, ("SignatureDoesNotMatch", 403)),
    ],
)
def test_a_wrong_secret_is_refused_in_the_services_form(
    serve, service, method, arguments, expected
):
    client = serve().client(service, key=root_key(KEY.id, "wrong", ACCOUNT))

    code, status, text = caught(getattr(client, method), **arguments)

    assert (code, status) == expected
    assert text.startswith("The request signature we calculated does not match the signature")


@pytest.mark.aws_documented
def test_an_unsigned_operation_lacks_its_token(serve):
    answer = send_plain(serve(), "POST", "/v1/submitjob", b"{}")

    assert answer.status == 403
    assert answer.headers["x-amzn-ErrorType"] == "MissingAuthenticationTokenException"
    assert answer.json["message"] == "Missing Authentication Token"


@pytest.mark.ours_only
def test_our_own_fault_tells_the_caller_only_the_request_id(serve, capsys):
    server = serve(
        {
            ("batch", "DescribeJobs"): raising(KeyError("secret detail")),
            ("logs", "DescribeLogGroups"): raising(KeyError("secret detail")),
        }
    )

    code, status, text = caught(server.client("batch").describe_jobs, jobs=["x"])

    assert (code, status) == ("ServerException", 500)
    assert "secret detail" not in text
    logged = capsys.readouterr().out
    assert logged.count("request_failed") == 1
    assert "secret detail" in logged
    code, status, _ = caught(server.client("logs").describe_log_groups)
    assert (code, status) == ("ServiceUnavailableException", 500)


@pytest.mark.ours_only
def test_trouble_of_the_store_is_told(serve, capsys):
    trouble = StoreTrouble("the store failed: database or disk is full")
    server = serve(
        {
            ("batch", "DescribeJobs"): raising(trouble),
            ("logs", "DescribeLogGroups"): raising(trouble),
        }
    )

    code, status, text = caught(server.client("batch").describe_jobs, jobs=["x"])

    assert (code, status) == ("ServerException", 500)
    assert text.startswith(f"batchyard cannot do this now: {trouble} (request id ")
    logged = capsys.readouterr().out
    assert logged.count("request_troubled") == 1
    assert "Traceback" not in logged
    code, status, text = caught(server.client("logs").describe_log_groups)
    assert (code, status) == ("ServiceUnavailableException", 500)
    assert str(trouble) in text


@pytest.mark.ours_only
def test_an_answer_that_does_not_fit_the_model_is_our_fault(serve, capsys):
    async def wrong(_call, _request):
        return {"jobs": "none"}

    client = serve({("batch", "DescribeJobs"): wrong}).client("batch")

    assert caught(client.describe_jobs, jobs=["x"])[:2] == ("ServerException", 500)
    assert "AnswerMisfit" in capsys.readouterr().out


@pytest.mark.ours_only
def test_every_operation_without_handler_says_that_it_is_not_supported(serve):
    server = serve()
    codes = {
        "batch": "ClientException",
        "logs": "UnsupportedOperationException",
        "sts": "InvalidAction",
        "ecs": "AccessDeniedException",
        "batchyard": "ClientException",
    }
    assert len(INDEX.operations) > 150
    for (service, name), operation in INDEX.operations.items():
        answer = call(server, operation)
        assert answer.status == 400, name
        text = f"{name} is not supported yet by batchyard (service {service})."
        if service == "ecs":
            text = f"{name} is not allowed: batchyard shows ecs and changes nothing there."
        if operation.service.protocol is Protocol.QUERY:
            space = {"a": operation.service.xml_namespace}
            error = ET.fromstring(answer.body).find("a:Error", space)  # noqa: S314
            assert error is not None
            assert error.findtext("a:Code", namespaces=space) == codes[service]
            assert error.findtext("a:Message", namespaces=space) == text
        else:
            assert answer.json["__type"] == codes[service]
            assert answer.json["message"] == text
        assert len(answer.headers["x-amzn-RequestId"]) == 36
    assert {service for service, _ in INDEX.operations} == set(SERVICES)


@pytest.mark.ours_only
def test_an_operation_that_no_model_knows_is_unknown(serve):
    server = serve()

    answer = send(server, signed("POST", server.url + "/v1/flyjob", b"{}"))
    assert (answer.status, answer.json["__type"]) == (404, "UnknownOperationException")

    target = {"X-Amz-Target": "Logs_20140328.Fly", "Content-Type": "application/x-amz-json-1.1"}
    answer = send(server, signed("POST", server.url + "/", b"{}", target, service="logs"))
    assert (answer.status, answer.json["__type"]) == (400, "UnknownOperationException")

    form = {"Content-Type": FORM}
    body = b"Action=Fly&Version=2011-06-15"
    answer = send(server, signed("POST", server.url + "/", body, form, service="sts"))
    assert answer.status == 400
    assert b"<Code>InvalidAction</Code>" in answer.body
    assert b"Could not find operation Fly for version 2011-06-15" in answer.body

    answer = send(server, signed("DELETE", server.url + "/v1/submitjob"))
    assert (answer.status, answer.json["__type"]) == (404, "UnknownOperationException")
    answer = send(server, signed("GET", server.url + "/bucket/key", service="s3"))
    assert (answer.status, answer.json["__type"]) == (404, "UnknownOperationException")


@pytest.mark.ours_only
@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/a?b=c", "/v1/", "/v1/tags/"])
def test_a_browser_gets_a_hint(serve, path):
    server = serve()

    answer = send_plain(server, "GET", path)

    assert answer.status == 404
    assert f"AWS_ENDPOINT_URL={server.url}" in answer.json["message"]


@pytest.mark.ours_only
@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"jobs": ["x"]', "truncated"),
        (b"[1]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b'{"jobs": ["\xff"]}', "utf-8"),
        (b'{"jobs": NaN}', "malformed"),
        (b'{"x": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"x": null, "y": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_body_that_is_no_json_is_a_serialization_error(serve, body, detail):
    async def never(_call, _request):
        raise AssertionError

    server = serve({("batch", "DescribeJobs"): never})

    answer = call(server, INDEX.operations["batch", "DescribeJobs"], body)

    assert (answer.status, answer.json["__type"]) == (400, "SerializationException")
    assert detail in answer.json["message"]
    assert REGION not in answer.json["message"]
