"""Requests signed by botocore's own signer and sent byte for byte, past the SDKs' checks."""

import http.client
from dataclasses import dataclass
from typing import Any

import msgspec
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from batchyard.wire.models import Operation, Protocol

from .conftest import KEY, REGION, Running

FORM = "application/x-www-form-urlencoded; charset=utf-8"


@dataclass
class RawAnswer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def signed(
    method: str,
    url: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    *,
    service: str = "batch",
    expires_s: int | None = None,
) -> AWSRequest:
    """Sign a request; with `expires_s` in its query."""
    request = AWSRequest(method, url, headers=headers or {}, data=body)
    credentials = Credentials(KEY.id, KEY.secret)
    if expires_s is None:
        SigV4Auth(credentials, service, REGION).add_auth(request)
    else:
        SigV4QueryAuth(credentials, service, REGION, expires=expires_s).add_auth(request)
    return request


def send(server: Running, request: AWSRequest) -> RawAnswer:
    path = request.url[len(server.url) :]
    return send_plain(server, request.method, path, request.data, dict(request.headers.items()))


def send_plain(
    server: Running,
    method: str,
    path: str,
    body: Any = b"",
    headers: dict[str, str] | None = None,
) -> RawAnswer:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return RawAnswer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def call(server: Running, operation: Operation, body: bytes = b"{}") -> RawAnswer:
    """Call `operation` raw, whatever its protocol, with `body` for the JSON protocols."""
    service = operation.service
    headers: dict[str, str] = {}
    path = operation.uri.replace("{resourceArn}", "arn%3Aaws%3Abatch%3Ax")
    match service.protocol:
        case Protocol.JSON:
            headers["X-Amz-Target"] = f"{service.target_prefix}.{operation.name}"
            headers["Content-Type"] = f"application/x-amz-json-{service.json_version}"
        case Protocol.QUERY:
            headers["Content-Type"] = FORM
            body = f"Action={operation.name}&Version={service.api_version}".encode()
        case Protocol.REST_JSON:
            headers["Content-Type"] = "application/json"
    if operation.method != "POST":
        body = b""
    request = signed(
        operation.method, server.url + path, body, headers, service=service.signing_name
    )
    return send(server, request)
