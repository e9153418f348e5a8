"""The server itself: what is no AWS request, limits, listening and stopping."""

import asyncio
import gzip
import http.client
import re
import signal

import msgspec
import pytest

from batchyard.access.keys import KeyRing
from batchyard.api import sts
from batchyard.model.limits import REQUEST_BYTES_MAX
from batchyard.wire.models import OperationIndex
from batchyard.wire.server import CannotListen, Server

from .conftest import KEY
from .raw import FORM, call, send, send_plain, signed

INDEX = OperationIndex()


async def echo_size(call, request):
    return {"jobs": [], "nextToken": f"{call.body_size}", "unknown": request}


async def put_events(_call, request):
    return {"nextSequenceToken": str(len(request["logEvents"]))}


@pytest.mark.ours_only
def test_health_needs_no_signature(serve):
    answer = send_plain(serve(), "GET", "/batchyard/v1/health")

    assert answer.status == 200
    assert answer.json["status"] == "ok"
    assert re.match(r"\d", answer.json["version"])
    assert "server" not in answer.headers


@pytest.mark.ours_only
def test_other_routes_are_chosen_by_the_longest_prefix(serve):
    def page(text):
        async def app(_scope, _receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": text})

        return app

    server = serve(
        sts.handlers(), extra_routes={"/": page(b"root"), "/batchyard/v1/queues": page(b"queues")}
    )

    assert send_plain(server, "GET", "/").body == b"root"
    assert send_plain(server, "GET", "/assets/a.js").body == b"root"
    assert send_plain(server, "GET", "/batchyard/v1/queues/high").body == b"queues"
    assert send_plain(server, "GET", "/batchyard/v1/health").json["status"] == "ok"
    assert send_plain(server, "POST", "/v1/submitjob").status == 403
    assert server.client("sts").get_caller_identity()["Account"]


@pytest.mark.aws_documented
def test_a_presigned_get_is_an_aws_request_even_where_the_root_is_taken(serve):
    async def root(_scope, _receive, _send):
        raise AssertionError

    server = serve(sts.handlers(), extra_routes={"/": root})
    url = f"{server.url}/?Action=GetCallerIdentity&Version=2011-06-15"
    request = signed("GET", url, service="sts", expires_s=60)
    request.data = b""

    answer = send(server, request)

    assert answer.status == 200
    assert b"<GetCallerIdentityResult>" in answer.body
    assert answer.headers["x-amzn-RequestId"].encode() in answer.body


@pytest.mark.ours_only
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_the_limit_is_refused_and_the_connection_closed(serve, is_chunked):
    server = serve({("batch", "ListJobs"): echo_size})
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", "/v1/listjobs")
    if is_chunked:
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        part = b"x" * (REQUEST_BYTES_MAX // 4)
        for _ in range(4):
            connection.send(b"%x\r\n%b\r\n" % (len(part), part))
        connection.send(b"1\r\nx\r\n")
    else:
        connection.putheader("Content-Length", str(REQUEST_BYTES_MAX + 1))
        connection.endheaders()
    answer = connection.getresponse()

    assert answer.status == 413
    assert answer.headers["connection"] == "close"
    assert msgspec.json.decode(answer.read()) == {
        "__type": "RequestEntityTooLargeException",
        "code": "RequestEntityTooLargeException",
        "message": f"The request is too large: at most {REQUEST_BYTES_MAX} bytes are allowed.",
    }
    connection.close()


@pytest.mark.ours_only
def test_a_body_up_to_the_limit_is_taken(serve):
    server = serve({("batch", "ListJobs"): echo_size})
    body = b'{"jobQueue": "q"}'.ljust(REQUEST_BYTES_MAX)

    answer = call(server, INDEX.operations["batch", "ListJobs"], body)

    assert answer.status == 200
    assert answer.json == {"nextToken": str(REQUEST_BYTES_MAX)}


@pytest.mark.ours_only
def test_an_operation_may_limit_its_own_body(serve):
    async def limited(call, _request):
        call.limit_body(30)

    server = serve({("batch", "ListJobs"): limited})
    operation = INDEX.operations["batch", "ListJobs"]

    assert call(server, operation, b"{}".ljust(30)).status == 200
    answer = call(server, operation, b"{}".ljust(31))
    assert (answer.status, answer.json["__type"]) == (400, "ClientException")


@pytest.mark.aws_documented
def test_a_packed_body_is_unpacked_after_its_signature(serve):
    server = serve({("logs", "PutLogEvents"): put_events})
    events = [{"timestamp": 1, "message": "m"}] * 3
    body = msgspec.json.encode({"logGroupName": "g", "logStreamName": "s", "logEvents": events})
    headers = {
        "X-Amz-Target": "Logs_20140328.PutLogEvents",
        "Content-Type": "application/x-amz-json-1.1",
        "Content-Encoding": "gzip",
    }

    url = f"{server.url}/"
    answer = send(server, signed("POST", url, gzip.compress(body), headers, service="logs"))
    assert (answer.status, answer.json) == (200, {"nextSequenceToken": "3"})
    answer = send(server, signed("POST", url, body, headers, service="logs"))
    assert (answer.status, answer.json["__type"]) == (400, "SerializationException")
    bomb = gzip.compress(b" " * (REQUEST_BYTES_MAX + 1))
    answer = send(server, signed("POST", url, bomb, headers, service="logs"))
    assert (answer.status, answer.json["__type"]) == (413, "RequestEntityTooLargeException")


@pytest.mark.aws_documented
def test_an_answer_without_output_shape_is_empty(serve):
    async def done(_call, _request):
        return None

    server = serve({("logs", "CreateLogGroup"): done, ("batch", "CancelJob"): done})

    body = b'{"logGroupName": "g"}'
    answer = call(server, INDEX.operations["logs", "CreateLogGroup"], body)
    assert (answer.status, answer.body) == (200, b"")
    body = b'{"jobId": "x", "reason": "y"}'
    answer = call(server, INDEX.operations["batch", "CancelJob"], body)
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.ours_only
@pytest.mark.parametrize("kind", [msgspec.Raw, bytes, bytearray, memoryview])
def test_an_answer_that_is_encoded_already_goes_out_untouched(serve, kind):
    encoded = b'{"jobs": [ ], "any": 1}'

    async def stored(_call, _request):
        return kind(encoded)

    server = serve({("batch", "DescribeJobs"): stored})
    answer = call(server, INDEX.operations["batch", "DescribeJobs"], b'{"jobs": ["x"]}')

    assert answer.body == encoded


@pytest.mark.ours_only
def test_a_form_without_action_is_no_operation(serve):
    server = serve()
    answer = send(server, signed("POST", f"{server.url}/", b"a=b", {"Content-Type": FORM}))

    assert answer.status == 400
    assert b"InvalidAction" in answer.body


def server_on(port, host="127.0.0.1", handlers=None, **options):
    return Server(handlers=handlers or {}, keys=KeyRing([KEY]), host=host, port=port, **options)


@pytest.mark.ours_only
async def test_a_port_in_use_says_what_to_do():
    first = server_on(0)
    await first.start()
    try:
        with pytest.raises(CannotListen, match=f"port {first.port} on 127.0.0.1 is in use"):
            await server_on(first.port).start()
    finally:
        await first.stop()


@pytest.mark.ours_only
@pytest.mark.parametrize("host", ["203.0.113.1", "no such host"])
async def test_a_host_that_is_not_ours_says_so(host):
    with pytest.raises(CannotListen, match="is no address of this machine"):
        await server_on(0, host).start()


@pytest.mark.ours_only
async def test_stopping_lets_requests_under_way_finish_and_can_be_repeated():
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def slow(_call, _request):
        has_begun.set()
        await may_end.wait()
        return {"jobSummaryList": []}

    server = server_on(0, handlers={("batch", "ListJobs"): slow})
    before = signal.getsignal(signal.SIGINT)
    await server.start()
    assert signal.getsignal(signal.SIGINT) is before
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    request = signed("POST", f"{server.url}/v1/listjobs", b"{}", {"Content-Length": "2"})
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    host = f"Host: 127.0.0.1:{server.port}\r\n"
    writer.write(f"POST /v1/listjobs HTTP/1.1\r\n{host}{head}\r\n{{}}".encode())
    await has_begun.wait()
    async with asyncio.TaskGroup() as group:
        group.create_task(server.stop())
        may_end.set()
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b'{"jobSummaryList":[]}')
    writer.close()
    await server.stop()


@pytest.mark.ours_only
async def test_a_server_can_be_started_again_on_its_port():
    server = server_on(0)
    await server.start()
    port = server.port
    await server.stop()
    again = server_on(port)
    await again.start()
    assert again.port == port
    await again.stop()


@pytest.mark.ours_only
@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")],  # noqa: S104
)
async def test_programs_on_this_machine_use_loopback(host, local):
    server = server_on(0, host)
    await server.start()
    try:
        assert server.local_url == f"http://{local}:{server.port}"
    finally:
        await server.stop()


@pytest.mark.ours_only
def test_a_handler_for_no_operation_is_refused():
    with pytest.raises(ValueError, match="FlyJob"):
        server_on(0, handlers={("batch", "FlyJob"): echo_size})


@pytest.mark.ours_only
def test_a_route_that_is_no_path_is_refused():
    with pytest.raises(ValueError, match="starts with a slash"):
        server_on(0, extra_routes={"queues": echo_size})
