"""The AWS side of HTTP, as a bare ASGI application: one visible list of steps per request.

    limit -> route -> signature -> decode -> handler -> encode -> errors

Owns that order. Refuses to know what any operation does and how sockets are opened. A refusal may
leave any step. Trouble of the store becomes a 500 that says what failed; whatever else leaves a
step is our fault, is logged once with its story, and becomes a 500 that tells the caller nothing
but the request id.
"""

import time
import traceback
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from random import getrandbits
from typing import Any

import msgspec
import structlog

from batchyard.access.keys import KeyRing
from batchyard.model.limits import REQUEST_BYTES_MAX
from batchyard.model.refusal import Refusal
from batchyard.store import StoreTrouble
from batchyard.wire.call import Call, Handler, Handlers
from batchyard.wire.decode import Decoder, form_pairs
from batchyard.wire.encode import Encoder
from batchyard.wire.errors import Answer, encode_refusal, server_fault, unsupported
from batchyard.wire.models import (
    SERVICES_ON_DEMAND,
    Match,
    Operation,
    OperationIndex,
    Protocol,
)
from batchyard.wire.request import HttpRequest, join_headers
from batchyard.wire.sigv4 import Verifier, is_signed
from batchyard.wire.warnings import WARNING_HEADER, Warnings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
#: Any ASGI application.
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

HEALTH_PATH = "/batchyard/v1/health"

_log = structlog.get_logger()


def read_wall_clock_ms() -> int:
    """Read the Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class _Disconnected(Exception):
    """The caller went away before its request was complete."""


class _Route:
    """One operation with all that serves it; compiled when first called."""

    __slots__ = ("decoder", "encoder", "handler", "operation")

    def __init__(self, operation: Operation, handler: Handler) -> None:
        self.operation = operation
        self.handler = handler
        self.decoder = Decoder(operation)
        self.encoder = Encoder(operation)


class Application:
    """Answers AWS requests with `handlers`, and `extra_routes` by path prefix, longest first."""

    def __init__(  # noqa: PLR0913 -- what it answers with, and two times
        self,
        *,
        handlers: Handlers,
        keys: KeyRing,
        extra_routes: Mapping[str, AsgiApp],
        version: str,
        now_ms: Callable[[], int],
        signing_now_ms: Callable[[], int],
    ) -> None:
        self._index = OperationIndex()
        loaded = {key for key in handlers if key[0] not in SERVICES_ON_DEMAND}
        unknown = sorted(loaded - set(self._index.operations))
        if unknown:
            raise ValueError(f"handlers for operations that no model has: {unknown}")
        if not all(prefix.startswith("/") for prefix in extra_routes):
            raise ValueError(f"a route's prefix starts with a slash: {sorted(extra_routes)}")
        self._handlers = handlers
        self._verifier = Verifier(keys)
        self._extra = sorted(extra_routes.items(), key=lambda each: len(each[0]), reverse=True)
        self._now_ms = now_ms
        self._warnings = Warnings()
        self._signing_now_ms = signing_now_ms
        self._routes: dict[tuple[str, str], _Route] = {}
        self._health = msgspec.json.encode({"status": "ok", "version": version})

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        assert scope["type"] == "http", "the server is configured for HTTP alone"
        request = HttpRequest(
            scope["method"],
            scope["raw_path"],
            scope["query_string"],
            join_headers(scope["headers"]),
        )
        match = self._index.find_by_line(request.method, request.raw_path)
        if match is None and request.raw_path != b"/":
            if scope["path"] == HEALTH_PATH:
                await _send(send, Answer(200, self._health, b"application/json"), _new_id())
                return
            extra = self._find_extra(scope["path"])
            if extra is not None:
                await extra(scope, receive, send)
                return
        request_id = _new_id()
        try:
            answer = await self._answer(request, match, receive, request_id)
        except _Disconnected:
            return
        if answer is None:
            extra = self._find_extra("/")
            if extra is not None:
                await extra(scope, receive, send)
                return
            answer = _hint(request)
        await _send(send, answer, request_id)

    async def _answer(
        self, request: HttpRequest, match: Match | None, receive: Receive, request_id: str
    ) -> Answer | None:
        """Go through the steps; None if this is no AWS request at all."""
        operation = match.operation if match is not None else None
        protocol = _guess_protocol(request) if operation is None else operation.service.protocol
        try:
            await _read_body(request, receive)
            match = match or self._find_by_content(request, protocol)
            if match is None:
                if not is_signed(request) and protocol is Protocol.REST_JSON:
                    return None
                raise _unknown_operation(request, protocol)
            operation = match.operation
            protocol = operation.service.protocol
            return await self._perform(request, match, request_id)
        except Refusal as refusal:
            answer = encode_refusal(refusal, operation, protocol, request_id)
            if refusal.code == _TOO_LARGE:
                answer = Answer(
                    answer.status, answer.body, answer.content_type, answer.error_type, is_last=True
                )
            return answer
        except _Disconnected:
            raise
        except Exception as error:
            fault = _fault_of(error, operation, request_id)
            return encode_refusal(fault, operation, protocol, request_id)

    async def _perform(self, request: HttpRequest, match: Match, request_id: str) -> Answer:
        operation = match.operation
        service = operation.service
        identity = self._verifier.verify(request, service.signing_name, self._signing_now_ms())
        route = self._routes.get(operation.key) or self._compile(operation)
        body_size = len(request.body)
        _unpack_body(request)
        members = route.decoder.decode(match, request)
        key = identity.key
        call = Call(
            scope=identity.scope,
            principal_arn=key.principal_arn,
            user_id=key.user_id,
            access_key_id=key.id,
            request_id=request_id,
            now_ms=self._now_ms(),
            body_size=body_size,
        )
        answer = await route.handler(call, members)
        encoder = route.encoder
        warning = self._warnings.header_of(call, operation.name) if call.warnings else None
        return Answer(
            200, encoder.encode(answer, request_id), encoder.content_type, warning=warning
        )

    def _compile(self, operation: Operation) -> _Route:
        handler = self._handlers.get(operation.key)
        if handler is None:
            raise unsupported(operation)
        route = _Route(operation, handler)
        self._routes[operation.key] = route
        return route

    def _find_by_content(self, request: HttpRequest, protocol: Protocol) -> Match | None:
        """Find an operation that all share the path `/`: by target, or by `Action`."""
        if request.raw_path != b"/":
            return None
        if protocol is Protocol.JSON:
            return self._index.find_by_target(request.headers[b"x-amz-target"])
        if protocol is Protocol.QUERY:
            return self._index.find_by_action(dict(form_pairs(request)).get("Action", ""))
        return None

    def _find_extra(self, path: str) -> AsgiApp | None:
        return next((app for prefix, app in self._extra if path.startswith(prefix)), None)


def _fault_of(error: Exception, operation: Operation | None, request_id: str) -> Refusal:
    """Log what kept us from answering, and word it for the caller."""
    name = None if operation is None else operation.name
    if isinstance(error, StoreTrouble):
        _log.error("request_troubled", request_id=request_id, operation=name, reason=str(error))
        return server_fault(operation, request_id, str(error))
    # The story as plain text: some renderers of exceptions show local variables, and those hold
    # secrets and payloads.
    story = "".join(traceback.format_exception(error))
    _log.error("request_failed", request_id=request_id, operation=name, story=story)
    return server_fault(operation, request_id)


_TOO_LARGE = "RequestEntityTooLargeException"
_TOO_LARGE_STATUS = 413
_DIGITS_MAX = 18


def _new_id() -> str:
    # A UUID in form; it names a log line and is no secret, so cheap chance will do.
    bits = f"{getrandbits(128):032x}"
    return f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"


async def _read_body(request: HttpRequest, receive: Receive) -> None:
    """Read the whole body, within the limit. Raises Refusal and _Disconnected."""
    declared = request.headers.get(b"content-length", b"0")
    if declared.isdigit() and (len(declared) > _DIGITS_MAX or int(declared) > REQUEST_BYTES_MAX):
        raise _too_large()
    message = await receive()
    if message["type"] == "http.request" and not message["more_body"]:
        body: bytes = message["body"]
        if len(body) > REQUEST_BYTES_MAX:
            raise _too_large()
        request.body = body
        return
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise _Disconnected
        chunks.append(message["body"])
        size += len(message["body"])
        if size > REQUEST_BYTES_MAX:
            raise _too_large()
        if not message["more_body"]:
            break
        message = await receive()
    request.body = b"".join(chunks)


def _unpack_body(request: HttpRequest) -> None:
    """Undo `Content-Encoding: gzip`; the signature covered the packed bytes."""
    if request.headers.get(b"content-encoding", b"").strip().lower() != b"gzip":
        return
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        body = unpacker.decompress(request.body, REQUEST_BYTES_MAX + 1)
    except zlib.error as error:
        raise Refusal("SerializationException", f"The body is not gzip: {error}") from None
    if len(body) > REQUEST_BYTES_MAX:
        raise _too_large()
    request.body = body


def _too_large() -> Refusal:
    return Refusal(
        _TOO_LARGE,
        f"The request is too large: at most {REQUEST_BYTES_MAX} bytes are allowed.",
        http_status=_TOO_LARGE_STATUS,
    )


def _guess_protocol(request: HttpRequest) -> Protocol:
    if b"x-amz-target" in request.headers:
        return Protocol.JSON
    form = b"application/x-www-form-urlencoded"
    is_form = request.headers.get(b"content-type", b"").startswith(form)
    if request.raw_path == b"/" and (is_form or b"Action=" in request.query):
        return Protocol.QUERY
    return Protocol.REST_JSON


def _unknown_operation(request: HttpRequest, protocol: Protocol) -> Refusal:
    if protocol is Protocol.JSON:
        target = request.headers[b"x-amz-target"].decode("latin-1")
        text = f"batchyard does not know the operation {target}."
        return Refusal("UnknownOperationException", text)
    if protocol is Protocol.QUERY:
        form = dict(form_pairs(request))
        text = (
            f"Could not find operation {form.get('Action', '')} for version"
            f" {form.get('Version', '')}."
        )
        return Refusal("InvalidAction", text)
    path = request.raw_path.decode("latin-1")
    text = f"batchyard does not know the operation {request.method} {path}."
    return Refusal("UnknownOperationException", text, http_status=404)


def _hint(request: HttpRequest) -> Answer:
    host = request.headers.get(b"host", b"").decode("latin-1")
    body = {
        "__type": "UnknownOperationException",
        "message": "This is batchyard: it speaks the AWS Batch API to signed requests. Set"
        f" AWS_ENDPOINT_URL=http://{host} and use any AWS client; health: {HEALTH_PATH}",
    }
    return Answer(404, msgspec.json.encode(body), b"application/json")


async def _send(send: Send, answer: Answer, request_id: str) -> None:
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % len(answer.body)),
        (b"x-amzn-requestid", request_id.encode()),
    ]
    if answer.error_type is not None:
        headers.append((b"x-amzn-errortype", answer.error_type))
    if answer.warning is not None:
        headers.append((WARNING_HEADER, answer.warning))
    if answer.is_last:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
