"""AWS's service models, read from botocore's data files: operations, shapes, and how to find one.

Owns the list of services that batchyard speaks and the index from a request line to an operation.
Refuses to know what an operation does. Never imports botocore: its data files are enough, and an
idle server stays small. What goes beyond AWS is a service, too, with a model of the same form in
`own_models`: so it is signed, decoded, checked and encoded like all others, and botocore makes a
client of it. Specified by botocore's `service-2.json.gz` and reference/integrations.md,
"Protocols of the neighbours".
"""

import gzip
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import msgspec

#: The services whose models are loaded, as botocore spells them. One line per service.
SERVICES: tuple[str, ...] = (
    "batch",
    "logs",
    "sts",
    "ecs",
    "batchyard",
)
#: Those that are loaded when somebody first asks for an action that no other has: EC2's model is
#: larger than all others together.
SERVICES_ON_DEMAND: tuple[str, ...] = ("ec2",)
#: Where the models of our own services lie, laid out as botocore's are.
OWN_MODELS = Path(__file__).with_name("own_models")


class Protocol(StrEnum):
    """How a service puts operation, members and errors into HTTP."""

    REST_JSON = "rest-json"
    JSON = "json"
    QUERY = "query"
    #: EC2's variant of the query protocol.
    EC2 = "ec2"

    @property
    def is_form(self) -> bool:
        """Requests are forms, answers XML."""
        return self in (Protocol.QUERY, Protocol.EC2)


class Ref(msgspec.Struct, frozen=True, rename="camel"):
    """A use of a shape, by a member, a list or an operation."""

    shape: str
    #: `uri`, `querystring`, `header`; None is the body.
    location: str | None = None
    location_name: str | None = None
    #: Its name in requests of the ec2 protocol, where that differs.
    query_name: str | None = None
    #: On an operation's output in the query protocol: the element around the result.
    result_wrapper: str | None = None


class ErrorTrait(msgspec.Struct, frozen=True, rename="camel"):
    """What the model says of an exception on the wire."""

    code: str | None = None
    http_status_code: int | None = None


class Shape(msgspec.Struct, frozen=True):
    """One type of a model; documentation, enumerations and patterns are left out on purpose."""

    type: str
    members: dict[str, Ref] = {}
    required: tuple[str, ...] = ()
    member: Ref | None = None
    key: Ref | None = None
    value: Ref | None = None
    min: float | None = None
    max: float | None = None
    error: ErrorTrait | None = None
    exception: bool = False
    fault: bool = False
    flattened: bool = False


class _Http(msgspec.Struct, frozen=True, rename="camel"):
    method: str
    request_uri: str


class _OperationData(msgspec.Struct, frozen=True):
    name: str
    http: _Http
    input: Ref | None = None
    output: Ref | None = None


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    endpoint_prefix: str
    protocol: str
    signing_name: str | None = None
    json_version: str = "1.1"
    target_prefix: str | None = None
    xml_namespace: str | None = None


class _ModelData(msgspec.Struct, frozen=True):
    metadata: _Metadata
    operations: dict[str, _OperationData]
    shapes: dict[str, Shape]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service model."""

    #: As botocore spells it, for example `batch`.
    name: str
    #: What a credential scope must name.
    signing_name: str
    protocol: Protocol
    api_version: str
    json_version: str
    target_prefix: str
    xml_namespace: str
    shapes: dict[str, Shape]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operation:
    """One operation of a service. Compared by identity: each exists once."""

    service: Service
    name: str
    method: str
    #: Path template, `/v1/tags/{resourceArn}`.
    uri: str
    input: Ref | None
    output: Ref | None

    @property
    def key(self) -> tuple[str, str]:
        return self.service.name, self.name


@cache
def load_service(name: str) -> tuple[Service, tuple[Operation, ...]]:
    """Read the newest model of service `name`. Raises FileNotFoundError if botocore has none."""
    data = msgspec.json.decode(_read_model(name), type=_ModelData)
    metadata = data.metadata
    service = Service(
        name=name,
        signing_name=metadata.signing_name or metadata.endpoint_prefix,
        protocol=Protocol(metadata.protocol),
        api_version=metadata.api_version,
        json_version=metadata.json_version,
        target_prefix=metadata.target_prefix or "",
        xml_namespace=metadata.xml_namespace or "",
        shapes=data.shapes,
    )
    operations = tuple(
        Operation(
            service=service,
            name=each.name,
            method=each.http.method,
            uri=each.http.request_uri,
            input=each.input,
            output=each.output,
        )
        for each in data.operations.values()
    )
    return service, operations


def _read_model(name: str) -> bytes:
    own = max((OWN_MODELS / name).glob("*/service-2.json"), default=None)
    return gzip.decompress(_model_path(name).read_bytes()) if own is None else own.read_bytes()


def _model_path(name: str) -> Path:
    spec = find_spec("botocore")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("botocore, which carries AWS's service models, is not installed")
    versions = Path(spec.submodule_search_locations[0], "data", name)
    newest = max(versions.glob("*/service-2.json.gz"), default=None)
    if newest is None:
        raise FileNotFoundError(f"botocore has no model of service {name!r}")
    return newest


@dataclass(frozen=True, slots=True)
class Match:
    """The operation that a request line names, and the members its path carries (decoded)."""

    operation: Operation
    path_members: dict[str, str] | None = None


class OperationIndex:
    """Finds the operation of a request, for each of the protocols."""

    def __init__(self, services: Iterable[str] = SERVICES) -> None:
        self._by_line: dict[tuple[str, bytes], Match] = {}
        self._by_template: list[tuple[str, re.Pattern[str], Operation]] = []
        self._by_target: dict[bytes, Match] = {}
        self._by_action: dict[str, Match] = {}
        self.operations: dict[tuple[str, str], Operation] = {}
        for name in services:
            self._load(name)
        self._on_demand = [each for each in SERVICES_ON_DEMAND if each not in services]

    def _load(self, name: str) -> None:
        _, operations = load_service(name)
        for operation in operations:
            self.operations[operation.key] = operation
            self._add(operation)

    def _add(self, operation: Operation) -> None:
        service = operation.service
        match service.protocol:
            case Protocol.JSON:
                target = f"{service.target_prefix}.{operation.name}"
                self._by_target[target.encode()] = Match(operation)
            case Protocol.QUERY | Protocol.EC2:
                self._by_action[operation.name] = Match(operation)
            case Protocol.REST_JSON if "{" in operation.uri:
                pattern = _template_pattern(operation.uri)
                self._by_template.append((operation.method, pattern, operation))
            case Protocol.REST_JSON:
                self._by_line[operation.method, operation.uri.encode()] = Match(operation)

    def find_by_line(self, method: str, raw_path: bytes) -> Match | None:
        """Find a rest-json operation by method and path as sent, still percent-encoded."""
        found = self._by_line.get((method, raw_path))
        if found is not None:
            return found
        path = raw_path.decode("latin-1")
        for template_method, pattern, operation in self._by_template:
            if template_method == method and (hit := pattern.fullmatch(path)):
                values = {name: unquote(value) for name, value in hit.groupdict().items()}
                return Match(operation, values)
        return None

    def find_by_target(self, target: bytes) -> Match | None:
        """Find a json operation by its `X-Amz-Target`."""
        return self._by_target.get(target)

    def find_by_action(self, action: str) -> Match | None:
        """Find a query operation by its `Action`."""
        while action and action not in self._by_action and self._on_demand:
            self._load(self._on_demand.pop())
        return self._by_action.get(action)


def _template_pattern(uri: str) -> re.Pattern[str]:
    # A label is one path segment, but the last one takes the rest: some clients send the slashes of
    # an ARN unencoded.
    parts = re.split(r"\{(\w+)\+?\}", uri)
    pattern = re.escape(parts[0])
    for at in range(1, len(parts), 2):
        is_last = at == len(parts) - 2 and not parts[-1]
        pattern += f"(?P<{parts[at]}>{'.+' if is_last else '[^/]+'})" + re.escape(parts[at + 1])
    return re.compile(pattern)
