"""EC2's variant of the query protocol, against botocore's own serializer and parser."""

from functools import cache
from typing import Any

import pytest
from botocore import session as botocore_session
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from batchyard.model.refusal import Refusal
from batchyard.wire.decode import Decoder
from batchyard.wire.encode import Encoder
from batchyard.wire.errors import encode_refusal
from batchyard.wire.models import Match, Operation, OperationIndex, Protocol
from batchyard.wire.request import HttpRequest


@cache
def _index() -> OperationIndex:
    return OperationIndex(["ec2"])


@cache
def _botocore_model() -> Any:
    return botocore_session.get_session().get_service_model("ec2")


def _operation(name: str) -> Operation:
    match = _index().find_by_action(name)
    assert match is not None
    return match.operation


def _parse(name: str, status: int, body: bytes) -> Any:
    answer = {"status_code": status, "headers": {}, "body": body}
    return create_parser("ec2").parse(answer, _botocore_model().operation_model(name).output_shape)


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("DescribeInstances", {"InstanceIds": ["i-1", "i-2"], "MaxResults": 5, "NextToken": "t"}),
        ("DescribeInstances", {"Filters": [{"Name": "tag:a", "Values": ["b", "c"]}]}),
        ("DescribeInstanceTypes", {"InstanceTypes": ["m6i.large"], "DryRun": True}),
        ("TerminateInstances", {"InstanceIds": ["i-1"]}),
    ],
)
def test_requests_are_read_as_botocore_writes_them(name: str, members: dict[str, Any]) -> None:
    model = _botocore_model().operation_model(name)
    sent = create_serializer("ec2").serialize_to_request(members, model)
    query = "&".join(f"{key}={value}" for key, value in sent["body"].items())
    request = HttpRequest("POST", b"/", query.encode(), {})
    operation = _operation(name)

    assert Decoder(operation).decode(Match(operation), request) == members


def test_answers_are_what_botocore_reads() -> None:
    state = {"Code": 16, "Name": "running"}
    instance = {"InstanceId": "i-1", "State": state, "Tags": [{"Key": "a", "Value": "<b>"}]}
    answer = {"Reservations": [{"ReservationId": "r-1", "Instances": [instance]}], "NextToken": "t"}

    body = Encoder(_operation("DescribeInstances")).encode(answer, "id-1")

    read = _parse("DescribeInstances", 200, body)
    metadata = read.pop("ResponseMetadata")
    assert (read, metadata["RequestId"]) == (answer, "id-1")


def test_refusals_are_what_botocore_reads() -> None:
    refusal = Refusal("InvalidInstanceID.NotFound", "No <such> instance.")

    answer = encode_refusal(refusal, _operation("DescribeInstances"), Protocol.EC2, "id-1")

    read = _parse("DescribeInstances", answer.status, answer.body)
    assert read["Error"] == {"Code": "InvalidInstanceID.NotFound", "Message": "No <such> instance."}
    assert read["ResponseMetadata"]["RequestId"] == "id-1"
