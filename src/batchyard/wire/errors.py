"""Errors in the forms that AWS's protocols give them.

Decides status, headers and body of every answer that is not a 200. Refuses to know what went wrong.
Specified by reference/integrations.md section 4.4 and reference/jobs.md section 0.2.
"""

from dataclasses import dataclass
from xml.sax.saxutils import escape

import msgspec

from batchyard.model.refusal import Refusal
from batchyard.wire.models import Operation, Protocol

_SERVER_FAULT_MIN = 500

#: The query protocol has names of its own for what every service refuses.
_QUERY_CODES = {
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
    "UnrecognizedClientException": "InvalidClientTokenId",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "IncompleteSignatureException": "IncompleteSignature",
    "ExpiredTokenException": "ExpiredToken",
    "AccessDeniedException": "AccessDenied",
    "TooManyRequestsException": "Throttling",
    "ServerException": "InternalFailure",
    "RequestEntityTooLargeException": "RequestEntityTooLarge",
}
_QUERY_STATUSES = {"IncompleteSignature": 400, "Throttling": 400}
_FORBIDDEN = 403
_BAD_REQUEST = 400


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer, without the headers that every answer has."""

    status: int
    body: bytes
    content_type: bytes
    error_type: bytes | None = None
    #: What is told beside an answer, for a header of ours.
    warning: bytes | None = None
    #: The connection ends after this answer: what is left of the request is not read.
    is_last: bool = False


def encode_refusal(
    refusal: Refusal, operation: Operation | None, protocol: Protocol, request_id: str
) -> Answer:
    """Word a refusal in `protocol`. `operation` is None where none was found."""
    match protocol:
        case Protocol.REST_JSON:
            return Answer(
                refusal.http_status,
                _json_body(refusal, with_code=True),
                b"application/json",
                error_type=refusal.code.encode(),
            )
        case Protocol.JSON:
            version = operation.service.json_version if operation is not None else "1.1"
            is_forbidden = refusal.http_status == _FORBIDDEN
            return Answer(
                _BAD_REQUEST if is_forbidden else refusal.http_status,
                _json_body(refusal, with_code=False),
                f"application/x-amz-json-{version}".encode(),
            )
        case Protocol.QUERY | Protocol.EC2:
            return _query_answer(refusal, operation, request_id)


def _json_body(refusal: Refusal, *, with_code: bool) -> bytes:
    body = {"__type": refusal.code, "message": refusal.message}
    if with_code:
        body["code"] = refusal.code
    return msgspec.json.encode(body)


def _query_answer(refusal: Refusal, operation: Operation | None, request_id: str) -> Answer:
    code = _QUERY_CODES.get(refusal.code, refusal.code)
    status = _QUERY_STATUSES.get(code, refusal.http_status)
    namespace = ""
    if operation is not None:
        namespace = f' xmlns="{operation.service.xml_namespace}"'
        # STS models an ExpiredTokenException of its own, of identity tokens: not the caller's.
        modelled = None if code != refusal.code else operation.service.shapes.get(refusal.code)
        if modelled is not None and modelled.error is not None:
            code = modelled.error.code or code
            status = modelled.error.http_status_code or status
    if operation is not None and operation.service.protocol is Protocol.EC2:
        body = (
            f"<Response><Errors><Error><Code>{escape(code)}</Code>"
            f"<Message>{escape(refusal.message)}</Message></Error></Errors>"
            f"<RequestID>{request_id}</RequestID></Response>"
        )
        return Answer(status, body.encode(), b"text/xml")
    fault = "Receiver" if status >= _SERVER_FAULT_MIN else "Sender"
    body = (
        f"<ErrorResponse{namespace}><Error><Type>{fault}</Type><Code>{escape(code)}</Code>"
        f"<Message>{escape(refusal.message)}</Message></Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return Answer(status, body.encode(), b"text/xml")


#: Services of which only reading operations are served.
_VIEWS = ("ecs", "ec2")


def unsupported(operation: Operation) -> Refusal:
    """Refuse an operation that AWS has and batchyard does not have yet."""
    name, service = operation.name, operation.service
    if service.name in _VIEWS:
        text = f"{name} is not allowed: batchyard shows {service.name} and changes nothing there."
        code = (
            "AccessDeniedException"
            if service.protocol is Protocol.JSON
            else "UnauthorizedOperation"
        )
        return Refusal(code, text)
    text = f"{name} is not supported yet by batchyard (service {service.name})."
    if service.protocol.is_form:
        return Refusal("InvalidAction", text)
    if "ClientException" in service.shapes:
        return Refusal("ClientException", text)
    return Refusal("UnsupportedOperationException", text)


def server_fault(
    operation: Operation | None, request_id: str, trouble: str | None = None
) -> Refusal:
    """Tell the caller that we failed, and under which request id the log tells why.

    `trouble` says what failed outside of us; our own faults are not told.
    """
    code = "ServerException"
    if operation is not None:
        shapes = operation.service.shapes
        named = ("ServerException", "ServiceUnavailableException", "InternalServerException")
        code = next((each for each in named if each in shapes), code)
    text = f"The request failed inside batchyard; its log says why under request id {request_id}."
    if trouble is not None:
        text = f"batchyard cannot do this now: {trouble} (request id {request_id})"
    return Refusal(code, text, http_status=500)
