"""Requests: from bytes to plain dicts in AWS's member names, checked against the model.

Each operation gets a decoder, compiled from its input shape on first use; msgspec then works in C.
Members the model does not know are dropped, null counts as absent at any depth, enumerations
are left to the handlers. What is wrong with a refused body is found out by `explain`, off the hot
path. Refuses to know what a member means.
"""

from collections.abc import Callable
from types import GenericAlias
from typing import Annotated, Any, NotRequired, Required, TypedDict
from urllib.parse import parse_qsl, unquote

import msgspec

from batchyard.model.limits import FORM_BYTES_MAX, FORM_PARAMETERS_MAX
from batchyard.model.refusal import Refusal
from batchyard.wire.explain import explain_misfit, refuse_nul, refuse_unreadable
from batchyard.wire.models import Match, Operation, Protocol, Ref, Shape
from batchyard.wire.request import HttpRequest

_INT32 = (-(2**31), 2**31 - 1)
_INT64 = (-(2**63), 2**63 - 1)

_SCALARS: dict[str, Any] = {
    "boolean": bool,
    "float": float,
    "double": float,
    "blob": bytes,
    # Unix seconds.
    "timestamp": float,
}


class ShapeTypes:
    """Builds, for the shapes of one model, types that msgspec decodes into plain dicts."""

    def __init__(self, shapes: dict[str, Shape]) -> None:
        self._shapes = shapes
        self._structures: dict[str, Any] = {}

    def structure(self, name: str) -> Any:
        """Build the dict type of structure `name`; a recursive shape finds itself half-built."""
        known = self._structures.get(name)
        if known is not None:
            return known
        shape = self._shapes[name]
        built: Any = TypedDict(name, {})  # type: ignore[misc]  # named by the model, not by us
        self._structures[name] = built
        built.__annotations__ = self.members(shape, shape.members)
        # TypedDict fixes these when it is made, which is before the members are known.
        built.__required_keys__ = frozenset(shape.required)
        built.__optional_keys__ = frozenset(shape.members) - frozenset(shape.required)
        return built

    def members(self, shape: Shape, members: dict[str, Ref]) -> dict[str, Any]:
        return {
            name: (
                Required[self._type(ref, is_needed=True)]
                if name in shape.required
                else NotRequired[self._type(ref, is_needed=False)]
            )
            for name, ref in members.items()
        }

    def _type(self, ref: Ref, *, is_needed: bool) -> Any:
        shape = self._shapes[ref.shape]
        match shape.type:
            case "structure":
                return self.structure(ref.shape)
            case "list":
                assert shape.member is not None
                return _sized(
                    GenericAlias(list, (self._type(shape.member, is_needed=True),)),
                    shape,
                    is_needed,
                )
            case "map":
                assert shape.key is not None
                assert shape.value is not None
                key = self._type(shape.key, is_needed=True)
                value = self._type(shape.value, is_needed=True)
                return _sized(GenericAlias(dict, (key, value)), shape, is_needed)
            case "string":
                return _sized(str, shape, is_needed)
            case "integer" | "long":
                return _ranged_integer(shape)
            case scalar:
                return _SCALARS[scalar]


def _sized(base: Any, shape: Shape, is_needed: bool) -> Any:
    # Clients send optional members empty and mean absent, so a lower bound holds only for members
    # that must be there (reference/jobs.md section 0.1).
    length_min = int(shape.min) if shape.min and is_needed else None
    length_max = int(shape.max) if shape.max is not None else None
    if length_min is None and length_max is None:
        return base
    return Annotated[base, msgspec.Meta(min_length=length_min, max_length=length_max)]


def _ranged_integer(shape: Shape) -> Any:
    low, high = _INT32 if shape.type == "integer" else _INT64
    if shape.min is not None:
        low = max(low, int(shape.min))
    if shape.max is not None:
        high = min(high, int(shape.max))
    return Annotated[int, msgspec.Meta(ge=low, le=high)]


class Decoder:
    """Decodes the requests of one operation."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        service = operation.service
        shape = service.shapes[operation.input.shape] if operation.input else Shape("structure")
        self._located = {name: ref for name, ref in shape.members.items() if ref.location}
        types = ShapeTypes(service.shapes)
        self._type: Any = types.structure(operation.input.shape) if operation.input else dict
        self._json = msgspec.json.Decoder(self._type)
        if service.protocol.is_form:
            self._decode: Callable[[Match, HttpRequest], dict[str, Any]] = self._decode_query
        elif self._located:
            self._decode = self._decode_located
        else:
            self._decode = self._decode_body

    def decode(self, match: Match, request: HttpRequest) -> dict[str, Any]:
        """Give the request's members as a plain dict. Raises Refusal naming the member at fault."""
        try:
            members = self._decode(match, request)
            if _may_hold_nul(request):
                refuse_nul(self._operation, members)
        except RecursionError:
            raise refuse_unreadable(self._operation, "it is nested too deeply") from None
        return members

    def _decode_body(self, _match: Match, request: HttpRequest) -> dict[str, Any]:
        body = request.body or b"{}"
        if b"null" in body:
            return self._convert(_without_nulls(self._read_json(body)))
        try:
            decoded: dict[str, Any] = self._json.decode(body)
        except msgspec.ValidationError as error:
            raise explain_misfit(self._operation, self._read_json(body), str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise refuse_unreadable(self._operation, str(error)) from None
        return decoded

    def _decode_located(self, match: Match, request: HttpRequest) -> dict[str, Any]:
        """Decode an operation with members in its path, query or headers."""
        members = _without_nulls(self._read_json(request.body or b"{}"))
        if not isinstance(members, dict):
            raise explain_misfit(self._operation, members, "")
        shapes = self._operation.service.shapes
        query = _query_pairs(request.query)
        for name, ref in self._located.items():
            members.pop(name, None)
            wire_name = ref.location_name or name
            sent: list[str] = []
            if ref.location == "uri":
                sent = [(match.path_members or {})[wire_name]]
            elif ref.location == "querystring":
                sent = [value for key, value in query if key == wire_name]
            elif ref.location == "header":
                header = request.headers.get(wire_name.lower().encode())
                sent = [] if header is None else [header.decode("latin-1")]
            if sent:
                shape = shapes[ref.shape]
                members[name] = sent if shape.type == "list" else _scalar(shape, sent[0])
        return self._convert(members)

    def _decode_query(self, _match: Match, request: HttpRequest) -> dict[str, Any]:
        shapes = self._operation.service.shapes
        if self._operation.input is None:
            return {}
        pairs = dict(form_pairs(request))
        is_ec2 = self._operation.service.protocol is Protocol.EC2
        form = _Form(shapes, pairs, is_ec2=is_ec2)
        return self._convert(_from_query(form, self._operation.input, ""))

    def _read_json(self, body: bytes) -> Any:
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise refuse_unreadable(self._operation, str(error)) from None

    def _convert(self, members: Any) -> dict[str, Any]:
        try:
            converted: dict[str, Any] = msgspec.convert(members, self._type)
        except msgspec.ValidationError as error:
            raise explain_misfit(self._operation, members, str(error)) from None
        return converted


def form_pairs(request: HttpRequest) -> list[tuple[str, str]]:
    """Give the parameters of a query-protocol request: its form body, or its query string.

    Raises Refusal for too many: this runs before the signature is verified.
    """
    form = request.body or request.query
    if len(form) > FORM_BYTES_MAX or form.count(b"&") >= FORM_PARAMETERS_MAX:
        raise Refusal(
            "RequestEntityTooLargeException",
            f"The request is too large: at most {FORM_PARAMETERS_MAX} parameters and"
            f" {FORM_BYTES_MAX} bytes are allowed.",
            http_status=413,
        )
    return parse_qsl(form.decode("utf-8", "replace"), keep_blank_values=True)


def _may_hold_nul(request: HttpRequest) -> bool:
    """Tell whether NUL may be in any member: JSON and forms can only have it escaped."""
    return b"\\u0000" in request.body or any(
        b"%00" in part for part in (request.raw_path, request.query, request.body)
    )


def _query_pairs(query: bytes) -> list[tuple[str, str]]:
    # A plus sign is a plus sign here: SDKs send a space as %20, and that is what they sign.
    parts = (part.partition("=") for part in query.decode("latin-1").split("&") if part)
    return [(unquote(name), unquote(value)) for name, _, value in parts]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value if each is not None]
    return value


def _scalar(shape: Shape, text: str) -> object:
    """Read a value that the wire carries as text; what does not fit stays text."""
    try:
        match shape.type:
            case "boolean":
                return {"true": True, "false": False}.get(text, text)
            case "integer" | "long":
                return int(text)
            case "float" | "double" | "timestamp":
                return float(text)
            case _:
                return text
    except ValueError:
        return text


class _Form:
    """The flat parameters of a request, and how its protocol names them."""

    def __init__(self, shapes: dict[str, Shape], pairs: dict[str, str], *, is_ec2: bool) -> None:
        self.shapes = shapes
        self.pairs = pairs
        self._is_ec2 = is_ec2

    def name_of(self, name: str, ref: Ref) -> str:
        """Name a member's parameter; ec2 capitalises the names that its answers have."""
        if not self._is_ec2:
            return ref.location_name or name
        if ref.query_name is not None:
            return ref.query_name
        sent = ref.location_name or name
        return sent[:1].upper() + sent[1:]

    def list_prefix(self, shape: Shape, prefix: str) -> str:
        """Give what comes before the number of an item; in ec2 all lists are flat."""
        assert shape.member is not None
        if self._is_ec2 or shape.flattened:
            return prefix
        return f"{prefix}{shape.member.location_name or 'member'}."


def _from_query(form: _Form, ref: Ref, at: str) -> Any:
    """Build the value at path `at` from flat parameters; None if there is none."""
    shape, pairs = form.shapes[ref.shape], form.pairs
    prefix = f"{at}." if at else ""
    if shape.type == "structure":
        members = {
            name: _from_query(form, member, prefix + form.name_of(name, member))
            for name, member in shape.members.items()
            # A recursive shape ends where no parameter goes deeper.
            if any(key.startswith(prefix + form.name_of(name, member)) for key in pairs)
        }
        found = {name: value for name, value in members.items() if value is not None}
        return found if found or not at else None
    if shape.type == "list":
        assert shape.member is not None
        member = shape.member
        inner = form.list_prefix(shape, prefix)
        return _numbered(lambda path: _from_query(form, member, path), inner)
    if shape.type == "map":
        return _map_from_query(form, shape, prefix)
    return None if at not in pairs else _scalar(shape, pairs[at])


def _map_from_query(form: _Form, shape: Shape, prefix: str) -> Any:
    assert shape.key is not None
    assert shape.value is not None
    key, value = shape.key, shape.value
    inner = prefix if shape.flattened else f"{prefix}entry."
    keys = _numbered(lambda at: form.pairs.get(f"{at}.{key.location_name or 'key'}"), inner) or []
    values = (
        _from_query(form, value, f"{inner}{number}.{value.location_name or 'value'}")
        for number in range(1, len(keys) + 1)
    )
    return dict(zip(keys, values, strict=True)) or None


def _numbered(read: Callable[[str], Any], prefix: str) -> list[Any] | None:
    found: list[Any] = []
    while (value := read(f"{prefix}{len(found) + 1}")) is not None:
        found.append(value)
    return found or None
