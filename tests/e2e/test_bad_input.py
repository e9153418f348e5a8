"""Whatever a caller sends, the answer is a modelled 4xx that names what is wrong; never a 500.

Goal: no request can make the server fail. Method: requests made from botocore's models for every
operation that is served, each wrong in one place: a required member missing, a member (top level
and one deeper) of a wrong type, a number out of range, text that is far too long or that no
database takes, a body that is no JSON. They are signed but sent raw, because botocore itself would
refuse to send them. At the end the server's log must hold no failure (`LiveYard.close`).
"""

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from botocore import xform_name
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from botocore.session import Session

from batchyard.api.batch import handlers as batch_handlers
from batchyard.api.ecs import handlers as ecs_handlers
from batchyard.api.logs import handlers as logs_handlers
from tests.e2e.live_yard import REGION, LiveYard, live_yard, until
from tests.fixtures.postgres import postgres_server

__all__ = ["postgres_server"]

pytestmark = [pytest.mark.ours_only, pytest.mark.slow]

Json = Any

SERVICES = ("batch", "logs", "ecs")

#: Values of a kind that is never right for the shape.
_WRONG: dict[str, list[Json]] = {
    "string": [7, True, ["x"], {"x": "y"}],
    "integer": ["7", 1.5, True, [1], {}],
    "long": ["7", 1.5, True, [1], {}],
    "float": ["7", True, [1], {}],
    "double": ["7", True, [1], {}],
    "boolean": ["true", 1, [], {}],
    "structure": ["x", 7, [], True],
    "list": ["x", 7, {}, True],
    "map": ["x", 7, [], True],
}
#: A number that no member of the type can hold.
_OUT_OF_RANGE = {"integer": [2**31, -(2**31) - 1, 10**30], "long": [2**63, 10**30]}

#: Longer than any field may be, and than the body of a SubmitJob or RegisterJobDefinition.
_LONG = "x" * 40_000

#: NUL is what PostgreSQL cannot store in text; a lone surrogate is what UTF-8 cannot hold.
_STRANGE = ["\0", "a\0b", "\ud800", "\N{PILE OF POO}" * 300, "é", " ", "\n", "../../x", "%", "'"]

_BROKEN_BODIES = [
    b"{",
    b"}",
    b"[]",
    b'"x"',
    b"7",
    b"null",
    b"{'a': 1}",
    b'{"a":1}x',
    b"\xff\xfe",
    b'{"a":NaN}',
    b"[" * 100_000,
    b'{"tags":' * 50_000,
]


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Json]

    @property
    def code(self) -> str:
        return str(self.body.get("__type", ""))

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


class RawCaller:
    """Sends signed requests that botocore would refuse to send."""

    def __init__(self, yard: LiveYard) -> None:
        self._yard = yard
        self._credentials = Credentials(yard.key["access_key_id"], yard.key["secret_access_key"])
        self._connection = http.client.HTTPConnection("127.0.0.1", yard.port, timeout=20)

    def close(self) -> None:
        self._connection.close()

    def call(self, operation: OperationModel, members: Mapping[str, Json]) -> Answer:
        """Send members as the protocol wants them, whatever they are."""
        shape = operation.input_shape
        assert isinstance(shape, StructureShape)
        path, query, body = operation.http["requestUri"], [], dict(members)
        for name, member in shape.members.items():
            location = member.serialization.get("location")
            wire_name = member.serialization.get("name", name)
            if location == "uri":
                path = path.replace(f"{{{wire_name}}}", quote(str(body.pop(name)), safe=""))
            elif location == "querystring" and name in body:
                query += [(wire_name, each) for each in body.pop(name)]
        if query:
            path = f"{path}?{urlencode(query, quote_via=quote)}"
        return self.send(operation, json.dumps(body).encode(), path=path)

    def send(self, operation: OperationModel, body: bytes, *, path: str | None = None) -> Answer:
        """Send any body to an operation."""
        model = operation.service_model
        headers = {"Content-Type": "application/json"}
        if model.metadata["protocol"] == "json":
            target = f"{model.metadata['targetPrefix']}.{operation.name}"
            headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
        path = operation.http["requestUri"] if path is None else path
        return self.send_raw(
            operation.http["method"], path, body, headers=headers, service=model.signing_name
        )

    def send_raw(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str],
        service: str,
    ) -> Answer:
        request = AWSRequest(
            method=method, url=f"{self._yard.endpoint}{path}", data=body, headers=dict(headers)
        )
        SigV4Auth(self._credentials, service, REGION).add_auth(request)
        self._connection.request(method, path, body, headers=dict(request.headers.items()))
        response = self._connection.getresponse()
        content = response.read()
        return Answer(response.status, json.loads(content) if content else {})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def yard(request: pytest.FixtureRequest) -> Iterator[LiveYard]:
    settings: dict[str, Any] = {}
    if request.param == "postgresql":
        settings["db"] = request.getfixturevalue("postgres_server").make_database()
    with live_yard(**settings) as made:
        _make_known(made)
        yield made


@pytest.fixture
def caller(yard: LiveYard) -> Iterator[RawCaller]:
    made = RawCaller(yard)
    yield made
    made.close()


def _make_known(yard: LiveYard) -> None:
    """Make what the accepted requests refer to."""
    batch, logs = yard.batch, yard.logs
    batch.create_compute_environment(**ACCEPTED["CreateComputeEnvironment"])
    until(
        lambda: (
            [
                each["status"]
                for each in batch.describe_compute_environments()["computeEnvironments"]
            ]
            == ["VALID"]
        )
    )
    batch.create_job_queue(**ACCEPTED["CreateJobQueue"])
    batch.register_job_definition(**ACCEPTED["RegisterJobDefinition"])
    until(lambda: batch.describe_job_queues()["jobQueues"][0]["status"] == "VALID")
    # So that jobs wait.
    batch.update_compute_environment(computeEnvironment="known", state="DISABLED")
    for operation in ("CreateLogGroup", "CreateLogStream"):
        getattr(logs, xform_name(operation))(**ACCEPTED[operation])


def operations() -> list[OperationModel]:
    """Every operation that is served, as botocore's models have it."""
    nothing: Any = None
    served = [*batch_handlers(nothing), *logs_handlers(nothing), *ecs_handlers(nothing)]
    session = Session()
    models = {name: session.get_service_model(name) for name in SERVICES}
    return [models[service].operation_model(name) for service, name in served]


OPERATIONS = operations()

_RESOURCES = {
    "type": "EC2",
    "minvCpus": 0,
    "maxvCpus": 1,
    "instanceTypes": ["optimal"],
    "subnets": ["subnet-1"],
    "securityGroupIds": ["sg-1"],
    "instanceRole": "ecsInstanceRole",
}

#: Requests that are accepted as they stand, so that what is put into them reaches the store. Jobs
#: wait for ever: their environment is disabled.
ACCEPTED: dict[str, dict[str, Json]] = {
    "CreateComputeEnvironment": {
        "computeEnvironmentName": "known",
        "type": "MANAGED",
        "computeResources": _RESOURCES,
    },
    "CreateJobQueue": {
        "jobQueueName": "known",
        "priority": 1,
        "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": "known"}],
    },
    "RegisterJobDefinition": {
        "jobDefinitionName": "known",
        "type": "container",
        "containerProperties": {
            "image": "busybox",
            "command": ["Ref::key"],
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "16"},
            ],
        },
    },
    "SubmitJob": {"jobName": "known", "jobQueue": "known", "jobDefinition": "known"},
    "UpdateJobQueue": {"jobQueue": "known"},
    "UpdateComputeEnvironment": {"computeEnvironment": "known"},
    "DescribeJobDefinitions": {"jobDefinitionName": "known"},
    "ListJobs": {"jobQueue": "known"},
    "CreateLogGroup": {"logGroupName": "known"},
    "CreateLogStream": {"logGroupName": "known", "logStreamName": "known"},
    "DescribeLogStreams": {"logGroupName": "known"},
    "PutLogEvents": {
        "logGroupName": "known",
        "logStreamName": "known",
        "logEvents": [{"timestamp": 1, "message": "x"}],
    },
    "GetLogEvents": {"logGroupName": "known", "logStreamName": "known"},
    "FilterLogEvents": {"logGroupName": "known"},
}

each_operation = pytest.mark.parametrize(
    "operation", OPERATIONS, ids=[each.name for each in OPERATIONS]
)


@each_operation
def test_a_missing_member_is_named(caller: RawCaller, operation: OperationModel) -> None:
    members = minimal(operation)
    for name in list(members):
        if _location(operation, name) != "uri":
            rest = {other: value for other, value in members.items() if other != name}
            assert_refused(operation, caller.call(operation, rest), name, f"without {name}")
            if _location(operation, name) is None:
                answer = caller.call(operation, members | {name: None})
                assert_refused(operation, answer, name, f"{name} null")


@each_operation
def test_a_member_of_a_wrong_type_is_named(caller: RawCaller, operation: OperationModel) -> None:
    for name, value in misfits(operation, _wrong_values):
        answer = caller.call(operation, minimal(operation) | {name: value})
        assert_refused(operation, answer, name, f"{name} = {value!r}")


@each_operation
def test_a_number_out_of_range_is_named(caller: RawCaller, operation: OperationModel) -> None:
    for name, value in misfits(operation, lambda shape: _OUT_OF_RANGE.get(shape.type_name, [])):
        answer = caller.call(operation, minimal(operation) | {name: value})
        assert_refused(operation, answer, name, f"{name} = {value!r}")


@each_operation
def test_text_that_is_too_long_or_strange_breaks_nothing(
    caller: RawCaller, operation: OperationModel
) -> None:
    """Where AWS sets no limit it may pass; but it is answered, and the server lives."""
    for base in (minimal(operation), ACCEPTED.get(operation.name, minimal(operation))):
        for name, value in misfits(operation, _texts):
            answer = caller.call(operation, base | {name: value})
            if answer.status != 200:
                assert_modelled(operation, answer, f"{name} = {value!r:.80}")


@pytest.mark.parametrize(
    "operation",
    [each for each in OPERATIONS if each.http["method"] == "POST"],
    ids=lambda each: each.name,
)
def test_a_body_that_is_no_object_is_refused(caller: RawCaller, operation: OperationModel) -> None:
    path = operation.http["requestUri"].replace("{resourceArn}", "x")
    for body in _BROKEN_BODIES:
        answer = caller.send(operation, body, path=path)
        assert_modelled(operation, answer, repr(body[:40]))
    empty = caller.send(operation, b"", path=path)
    required = [name for name in minimal(operation) if _location(operation, name) is None]
    if required:
        assert_refused(operation, empty, required[0], "an empty body")
    elif empty.status != 200:
        assert_modelled(operation, empty, "an empty body")


def test_a_body_beyond_every_limit_is_refused_before_it_is_sent(yard: LiveYard) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", yard.port, timeout=20)
    connection.putrequest("POST", "/v1/submitjob")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "9000000")
    connection.endheaders()
    response = connection.getresponse()
    answer = Answer(response.status, json.loads(response.read()))
    connection.close()
    assert (answer.status, answer.code) == (413, "RequestEntityTooLargeException")


def test_paths_and_targets_that_nobody_knows(caller: RawCaller) -> None:
    headers = {"Content-Type": "application/json"}
    for method, path in (
        ("POST", "/v1/nonsense"),
        ("GET", "/v1/submitjob"),
        ("POST", "/v1/submitjob/"),
        ("DELETE", "/"),
        ("POST", "/v1/%00"),
        ("POST", "/v1/tags"),
        ("POST", "//"),
        ("GET", "/" + "x" * 8000),
    ):
        answer = caller.send_raw(method, path, b"{}", headers=headers, service="batch")
        assert (answer.status, answer.code) == (404, "UnknownOperationException"), path
        assert path in answer.message
    for target in ("Logs_20140328.Nonsense", "Nonsense", "", "Logs_20140328.", "é"):
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
        answer = caller.send_raw("POST", "/", b"{}", headers=headers, service="logs")
        assert (answer.status, answer.code) == (400, "UnknownOperationException"), target


def test_tags_of_what_is_no_arn(caller: RawCaller) -> None:
    for arn in ("x", "arn:", "arn:aws:batch", "arn:aws:batch:::job/x", "a/b/c", "\0", "é", "%"):
        for name in ("ListTagsForResource", "TagResource", "UntagResource"):
            operation = next(each for each in OPERATIONS if each.name == name)
            answer = caller.call(operation, minimal(operation) | {"resourceArn": arn})
            assert_modelled(operation, answer, f"{name} of {arn!r}")


# -- what is sent -----------------------------------------------------------------------------


def minimal(operation: OperationModel) -> dict[str, Json]:
    """The required members alone, with values of the right type."""
    shape = operation.input_shape
    assert isinstance(shape, StructureShape)
    return _fitting(shape)


def misfits(operation: OperationModel, values_for: Any) -> Iterator[tuple[str, Json]]:
    """Each member of an operation with each wrong value, at the top level and one deeper."""
    shape = operation.input_shape
    assert isinstance(shape, StructureShape)
    for name, member in shape.members.items():
        if _location(operation, name) is None:
            for value in values_for(member):
                yield name, value
            for value in _inner_misfits(member, values_for):
                yield name, value


def _inner_misfits(shape: Shape, values_for: Any) -> Iterator[Json]:
    match shape:
        case StructureShape():
            fitting = _fitting(shape)
            for name, member in shape.members.items():
                yield from (fitting | {name: value} for value in values_for(member))
        case ListShape():
            yield from ([value] for value in values_for(shape.member))
            if isinstance(shape.member, StructureShape):
                yield from ([value] for value in _inner_misfits(shape.member, values_for))
        case MapShape():
            yield from ({"key": value} for value in values_for(shape.value))
            texts = [value for value in values_for(shape.key) if isinstance(value, str)]
            yield from ({text: _fitting(shape.value)} for text in texts)


def _wrong_values(shape: Shape) -> list[Json]:
    return _WRONG.get(shape.type_name, [])


def _texts(shape: Shape) -> list[Json]:
    return [_LONG, *_STRANGE] if shape.type_name == "string" else []


def _fitting(shape: Shape) -> Any:
    match shape:
        case StructureShape():
            return {name: _fitting(shape.members[name]) for name in shape.required_members}
        case ListShape():
            return [_fitting(shape.member)]
        case MapShape():
            return {"key": _fitting(shape.value)}
    if enum := getattr(shape, "enum", None):
        return enum[0]
    if shape.type_name in ("integer", "long", "float", "double"):
        return 1
    return shape.type_name == "boolean" or "x"


def _location(operation: OperationModel, name: str) -> str | None:
    shape = operation.input_shape
    assert isinstance(shape, StructureShape)
    location: str | None = shape.members[name].serialization.get("location")
    return location


# -- what is answered -------------------------------------------------------------------------


def assert_refused(operation: OperationModel, answer: Answer, member: str, what: str) -> None:
    assert_modelled(operation, answer, what)
    assert member in answer.message, (what, answer)


def assert_modelled(operation: OperationModel, answer: Answer, what: str) -> None:
    assert answer.status == 400, (what, answer)
    # The protocol's own error for what cannot be read stands in no model.
    modelled = {shape.name for shape in operation.error_shapes} | {"SerializationException"}
    assert answer.code in modelled - {"ServerException"}, (what, answer)
    assert answer.message, (what, answer)
