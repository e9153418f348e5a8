"""Answers: from a handler's dict to the protocol's bytes, holding only what the model knows.

Each operation gets an encoder, compiled from its output shape on first use; members that the model
does not know and members that are None are left out, in C. An answer that a handler has encoded
itself goes out untouched. Refuses to know what a member means.
"""

from datetime import UTC, datetime
from types import GenericAlias
from typing import Any
from xml.sax.saxutils import escape

import msgspec

from batchyard.wire.models import Operation, Protocol, Ref, Shape

#: Answers that are bytes already.
ENCODED = (msgspec.Raw, bytes, bytearray, memoryview)

_SCALARS: dict[str, Any] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "blob": bytes,
    # Unix seconds.
    "timestamp": int | float,
}


class AnswerMisfit(Exception):
    """A handler's answer does not fit the model: our fault, never the caller's."""


class Encoder:
    """Encodes the answers of one operation."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        service = operation.service
        self.protocol = service.protocol
        if self.protocol is Protocol.JSON:
            self.content_type = f"application/x-amz-json-{service.json_version}".encode()
        elif self.protocol is Protocol.REST_JSON:
            self.content_type = b"application/json"
        else:
            self.content_type = b"text/xml"
        self._struct: Any = None
        if operation.output is not None and not self.protocol.is_form:
            self._struct = _OutputTypes(service.shapes).structure(operation.output.shape)
        self._json = msgspec.json.Encoder()

    def encode(self, answer: Any, request_id: str) -> bytes:
        """Give the body of a 200. Raises AnswerMisfit if a member has the wrong type."""
        if isinstance(answer, ENCODED):
            return bytes(answer)
        if self.protocol.is_form:
            return _encode_query(self._operation, answer or {}, request_id)
        if self._struct is None:
            # Without an output shape the json protocol answers nothing at all.
            return b"" if self.protocol is Protocol.JSON else b"{}"
        try:
            return self._json.encode(msgspec.convert(answer or {}, self._struct))
        except msgspec.ValidationError as error:
            raise AnswerMisfit(f"{self._operation.name}: {error}") from error


class _OutputTypes:
    """Builds, for the shapes of one model, structs that keep what is known and not None."""

    def __init__(self, shapes: dict[str, Shape]) -> None:
        self._shapes = shapes
        self._structures: dict[str, Any] = {}

    def structure(self, name: str) -> Any:
        known = self._structures.get(name)
        if known is not None:
            return known
        shape = self._shapes[name]
        # Field names carry a prefix, unseen on the wire: members may be keywords of Python.
        built: Any = msgspec.defstruct(
            name,
            [(f"m_{member}", object, None) for member in shape.members],
            rename={f"m_{member}": member for member in shape.members},
            omit_defaults=True,
            gc=False,
        )
        self._structures[name] = built
        # msgspec resolves the annotations on first use: by then recursive shapes are complete.
        built.__annotations__.update(
            {f"m_{member}": self._type(ref) | None for member, ref in shape.members.items()}
        )
        return built

    def _type(self, ref: Ref) -> Any:
        shape = self._shapes[ref.shape]
        match shape.type:
            case "structure":
                return self.structure(ref.shape)
            case "list":
                assert shape.member is not None
                return GenericAlias(list, (self._type(shape.member),))
            case "map":
                assert shape.value is not None
                return GenericAlias(dict, (str, self._type(shape.value)))
            case scalar:
                return _SCALARS[scalar]


def _encode_query(operation: Operation, answer: dict[str, Any], request_id: str) -> bytes:
    name, service = operation.name, operation.service
    result = ""
    if operation.output is not None:
        inner = _xml_members(service.shapes, service.shapes[operation.output.shape], answer)
        wrapper = operation.output.result_wrapper
        result = f"<{wrapper}>{inner}</{wrapper}>" if wrapper else inner
    if service.protocol is Protocol.EC2:
        return (
            f'<{name}Response xmlns="{service.xml_namespace}"><requestId>{request_id}</requestId>'
            f"{result}</{name}Response>"
        ).encode()
    return (
        f'<{name}Response xmlns="{service.xml_namespace}">{result}<ResponseMetadata>'
        f"<RequestId>{request_id}</RequestId></ResponseMetadata></{name}Response>"
    ).encode()


def _xml_members(shapes: dict[str, Shape], shape: Shape, value: dict[str, Any]) -> str:
    return "".join(
        _xml(shapes, ref, ref.location_name or name, value[name])
        for name, ref in shape.members.items()
        if value.get(name) is not None
    )


def _xml(shapes: dict[str, Shape], ref: Ref, tag: str, value: Any) -> str:
    shape = shapes[ref.shape]
    match shape.type:
        case "structure":
            inner = _xml_members(shapes, shape, value)
        case "list":
            assert shape.member is not None
            each_tag = tag if shape.flattened else shape.member.location_name or "member"
            inner = "".join(_xml(shapes, shape.member, each_tag, each) for each in value)
            if shape.flattened:
                return inner
        case "map":
            assert shape.key is not None
            assert shape.value is not None
            entries = [
                _xml(shapes, shape.key, shape.key.location_name or "key", key)
                + _xml(shapes, shape.value, shape.value.location_name or "value", each)
                for key, each in value.items()
            ]
            entry_tag = tag if shape.flattened else "entry"
            inner = "".join(f"<{entry_tag}>{entry}</{entry_tag}>" for entry in entries)
            if shape.flattened:
                return inner
        case "boolean":
            inner = "true" if value else "false"
        case "timestamp":
            inner = datetime.fromtimestamp(value, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case _:
            inner = escape(str(value))
    return f"<{tag}>{inner}</{tag}>"
