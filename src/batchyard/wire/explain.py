"""Says what is wrong with a request body that its decoder refused, and where.

Walks the body along the model, slowly and exactly, and words the first misfit the way the service
does. Refuses to decide whether a body fits: the compiled decoder already did.
"""

import binascii
from base64 import b64decode
from dataclasses import dataclass

from batchyard.model.refusal import Refusal
from batchyard.wire.models import Operation, Protocol, Ref, Shape

_KINDS: dict[str, str] = {
    "structure": "an object",
    "list": "an array",
    "map": "an object",
    "string": "a string",
    "boolean": "a boolean",
    "integer": "an integer",
    "long": "an integer",
    "float": "a number",
    "double": "a number",
    "timestamp": "a number",
    "blob": "base64 text",
}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "list": (list,),
    "map": (dict,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
}
_BITS = {"integer": 32, "long": 64}
#: The member whose text is kept as it is, whatever it holds.
_FREE_TEXT = {("logs", "PutLogEvents"): "message"}
#: A value is quoted in a message up to this length.
_QUOTED_LENGTH_MAX = 256


@dataclass(frozen=True, slots=True)
class _Misfit:
    path: str
    value: object
    #: Our words, after the path: `must be a string`.
    text: str
    #: AWS's words for the constraint, `Member must not be null`.
    constraint: str


def refuse_unreadable(operation: Operation, detail: str) -> Refusal:
    """Build the refusal of a body that is not JSON at all."""
    code = "SerializationException"
    if operation.service.protocol is Protocol.QUERY:
        code = "MalformedQueryString"
    return Refusal(code, f"The request body could not be read: {detail}")


def explain_misfit(operation: Operation, body: object, detail: str) -> Refusal:
    """Build the refusal of a body that does not fit the operation's input.

    Names the first member at fault. `detail` is the decoder's own text, used if the walk finds
    nothing.
    """
    assert operation.input is not None
    if not isinstance(body, dict):
        return refuse_unreadable(operation, "it must be a JSON object")
    walk = _Walk(operation.service.shapes)
    misfit = walk.structure(operation.service.shapes[operation.input.shape], body, "")
    if misfit is None:
        return Refusal(_validation_code(operation), detail)
    return _refusal(operation, misfit)


def refuse_nul(operation: Operation, members: dict[str, object]) -> None:
    """Refuse text that holds NUL: no program can be given it, and not every store can keep it.

    Only the lines of a program's output may have it.
    """
    free = _FREE_TEXT.get(operation.key)
    misfit = _nul_in(members, "", free)
    if misfit is not None:
        raise _refusal(operation, misfit)


def _refusal(operation: Operation, misfit: _Misfit) -> Refusal:
    if operation.service.protocol is Protocol.REST_JSON:
        return Refusal(_validation_code(operation), f"{misfit.path} {misfit.text}")
    quoted = "null" if misfit.value is None else f"'{str(misfit.value)[:_QUOTED_LENGTH_MAX]}'"
    return Refusal(
        _validation_code(operation),
        f"1 validation error detected: Value {quoted} at '{misfit.path}' failed to satisfy"
        f" constraint: {misfit.constraint}",
    )


def _validation_code(operation: Operation) -> str:
    shapes = operation.service.shapes
    if operation.service.protocol is Protocol.QUERY:
        return "ValidationError"
    if operation.service.protocol is Protocol.EC2:
        return "InvalidParameterValue"
    for code in ("ClientException", "InvalidParameterException", "ValidationException"):
        if code in shapes:
            return code
    return "ValidationException"


def _nul_in(value: object, path: str, free: str | None) -> _Misfit | None:
    """Find the first text with NUL in it, keys of maps included."""
    if isinstance(value, str):
        if "\0" not in value:
            return None
        text = "must not contain NUL characters"
        return _Misfit(path.replace("\0", "\\0"), value, text, f"Member {text}")
    found: list[tuple[object, str]] = []
    if isinstance(value, dict):
        for name, each in value.items():
            at = f"{path}.{name}" if path else name
            found.append((name, at))
            if name != free:
                found.append((each, at))
    elif isinstance(value, list):
        found = [(each, f"{path}[{number}]") for number, each in enumerate(value)]
    misfits = (_nul_in(each, at, free) for each, at in found)
    return next((misfit for misfit in misfits if misfit is not None), None)


class _Walk:
    """Finds the first misfit of a value, in the model's order of members."""

    def __init__(self, shapes: dict[str, Shape]) -> None:
        self._shapes = shapes

    def structure(self, shape: Shape, value: dict[str, object], path: str) -> _Misfit | None:
        for name, ref in shape.members.items():
            at = f"{path}.{name}" if path else name
            member = value.get(name)
            is_needed = name in shape.required
            if member is None:
                if is_needed:
                    return _Misfit(at, None, "must be provided", "Member must not be null")
                continue
            misfit = self._value(ref, member, at, is_needed=is_needed)
            if misfit is not None:
                return misfit
        return None

    def _value(self, ref: Ref, value: object, at: str, *, is_needed: bool) -> _Misfit | None:
        shape = self._shapes[ref.shape]
        if not _is_kind(shape.type, value):
            kind = _KINDS[shape.type]
            return _Misfit(at, value, f"must be {kind}", f"Member must be {kind}")
        misfit = _size_misfit(shape, value, at, is_needed=is_needed)
        if misfit is not None:
            return misfit
        if isinstance(value, dict):
            return self._object(shape, value, at)
        if isinstance(value, list):
            assert shape.member is not None
            for number, each in enumerate(value):
                misfit = self._value(shape.member, each, f"{at}[{number}]", is_needed=True)
                if misfit is not None:
                    return misfit
        return None

    def _object(self, shape: Shape, value: dict[str, object], at: str) -> _Misfit | None:
        if shape.type == "structure":
            return self.structure(shape, value, at)
        assert shape.key is not None
        assert shape.value is not None
        for key, each in value.items():
            inner = f"{at}.{key}"
            misfit = self._value(shape.key, key, inner, is_needed=True)
            misfit = misfit or self._value(shape.value, each, inner, is_needed=True)
            if misfit is not None:
                return misfit
        return None


def _is_kind(kind: str, value: object) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "blob":
        return isinstance(value, str) and _is_base64(value)
    return isinstance(value, _PYTHON_TYPES[kind])


def _is_base64(text: str) -> bool:
    try:
        b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _size_misfit(shape: Shape, value: object, at: str, *, is_needed: bool) -> _Misfit | None:
    low, high = shape.min, shape.max
    if isinstance(value, str | list | dict):
        if shape.type not in ("string", "list", "map"):
            return None
        size, what, unit = len(value), "length ", _UNITS[shape.type]
        low = low if is_needed else None
    elif shape.type in _BITS and isinstance(value, int):
        half = 2 ** (_BITS[shape.type] - 1)
        low = -half if low is None else low
        high = half - 1 if high is None else high
        size, what, unit = value, "value ", ""
    else:
        return None
    if low is not None and size < low:
        constraint = f"Member must have {what}greater than or equal to {int(low)}"
        return _Misfit(at, value, f"must be at least {int(low)}{unit}", constraint)
    if high is not None and size > high:
        constraint = f"Member must have {what}less than or equal to {int(high)}"
        return _Misfit(at, value, f"must be at most {int(high)}{unit}", constraint)
    return None


_UNITS = {"string": " characters long", "list": " items long", "map": " entries long"}
