"""Requests become plain dicts in the model's names, and what does not fit is named."""

import msgspec
import pytest

from batchyard.model.refusal import Refusal
from batchyard.wire.decode import Decoder, ShapeTypes
from batchyard.wire.models import Match, OperationIndex
from batchyard.wire.request import HttpRequest

INDEX = OperationIndex()
DECODERS: dict[tuple[str, str], Decoder] = {}


def decode(service, name, body=b"", **located):
    operation = INDEX.operations[service, name]
    if not isinstance(body, bytes):
        body = msgspec.json.encode(body)
    decoder = DECODERS.setdefault((service, name), Decoder(operation))
    request = HttpRequest(
        operation.method, b"/", located.pop("query", b""), located.pop("headers", {}), body
    )
    return decoder.decode(Match(operation, located or None), request)


def refused(service, name, body):
    with pytest.raises(Refusal) as info:
        decode(service, name, body)
    assert info.value.http_status == 400
    return info.value.code, info.value.message


JOB = {"jobName": "n", "jobQueue": "q", "jobDefinition": "d"}


@pytest.mark.parametrize("name", sorted(INDEX.operations))
@pytest.mark.aws_documented
def test_every_operation_of_every_model_compiles(name):
    Decoder(INDEX.operations[name])


@pytest.mark.aws_documented
def test_null_counts_as_absent_at_any_depth():
    body = JOB | {
        "tags": None,
        "dependsOn": [None, {"jobId": "x", "type": None}],
        "containerOverrides": {"vcpus": None, "command": ["null"]},
        "parameters": {"a": None, "b": "null"},
    }

    assert decode("batch", "SubmitJob", body) == JOB | {
        "dependsOn": [{"jobId": "x"}],
        "containerOverrides": {"command": ["null"]},
        "parameters": {"b": "null"},
    }


@pytest.mark.unknown
def test_members_that_the_model_does_not_know_are_dropped():
    body = JOB | {"colour": {"deep": [1, None]}, "timeout": {"attemptDurationSeconds": 60, "x": 1}}

    assert decode("batch", "SubmitJob", body) == JOB | {"timeout": {"attemptDurationSeconds": 60}}


@pytest.mark.aws_documented
def test_what_clients_send_empty_is_let_through():
    empty = {
        "dependsOn": [],
        "parameters": {},
        "tags": {},
        "containerOverrides": {},
        "retryStrategy": {},
        "timeout": {},
        "arrayProperties": {},
        "shareIdentifier": "",
    }

    assert decode("batch", "SubmitJob", JOB | empty) == JOB | empty
    assert decode("batch", "ListJobs", {"nextToken": ""}) == {"nextToken": ""}


@pytest.mark.aws_documented
def test_an_empty_body_is_an_empty_request():
    assert decode("batch", "DescribeJobQueues") == {}
    assert decode("logs", "DescribeLogGroups") == {}
    assert decode("sts", "GetCallerIdentity") == {}


@pytest.mark.unknown
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"jobName": None}, "jobName must be provided"),
        ({"jobName": 7}, "jobName must be a string"),
        ({"tags": ["x"]}, "tags must be an object"),
        ({"tags": {"k": 1}}, "tags.k must be a string"),
        ({"tags": {"k": "x" * 257}}, "tags.k must be at most 256 characters long"),
        ({"tags": {"": "x"}}, "tags. must be at least 1 characters long"),
        ({"dependsOn": "x"}, "dependsOn must be an array"),
        ({"timeout": {"attemptDurationSeconds": "60"}},
         "timeout.attemptDurationSeconds must be an integer"),
        ({"timeout": {"attemptDurationSeconds": 1.5}},
         "timeout.attemptDurationSeconds must be an integer"),
        ({"timeout": {"attemptDurationSeconds": True}},
         "timeout.attemptDurationSeconds must be an integer"),
        ({"timeout": {"attemptDurationSeconds": 2**31}},
         "timeout.attemptDurationSeconds must be at most 2147483647"),
        ({"timeout": {"attemptDurationSeconds": 10**30}},
         "timeout.attemptDurationSeconds must be at most 2147483647"),
        ({"propagateTags": "yes"}, "propagateTags must be a boolean"),
        ({"containerOverrides": {"environment": [{"name": "A"}, {"name": 1}]}},
         "containerOverrides.environment[1].name must be a string"),
        ({"containerOverrides": {"resourceRequirements": [{"type": "VCPU"}]}},
         "containerOverrides.resourceRequirements[0].value must be provided"),
    ],
)  # fmt: skip
def test_batch_names_the_member_at_fault(change, text):
    assert refused("batch", "SubmitJob", JOB | change) == ("ClientException", text)


@pytest.mark.aws_documented
def test_logs_names_the_member_at_fault_in_its_own_words():
    assert refused("logs", "CreateLogGroup", {}) == (
        "InvalidParameterException",
        "1 validation error detected: Value null at 'logGroupName' failed to satisfy constraint:"
        " Member must not be null",
    )
    assert refused("logs", "CreateLogGroup", {"logGroupName": ""}) == (
        "InvalidParameterException",
        "1 validation error detected: Value '' at 'logGroupName' failed to satisfy constraint:"
        " Member must have length greater than or equal to 1",
    )
    code, text = refused("logs", "GetLogEvents", {"logStreamName": "s", "limit": 10_001})
    assert code == "InvalidParameterException"
    assert "'10001' at 'limit'" in text
    assert "less than or equal to 10000" in text


@pytest.mark.aws_documented
def test_recursive_shapes_decode():
    types = ShapeTypes(INDEX.operations["logs", "GetLogFields"].service.shapes)
    decoder = msgspec.json.Decoder(types.structure("LogFieldType"))
    value = {"type": "struct", "fields": [{"logFieldName": "x", "logFieldType": {"fields": []}}]}
    assert decoder.decode(msgspec.json.encode(value | {"unknown": value})) == value


ARN = "arn:aws:batch:eu-central-1:123456789012:job-queue/q"


@pytest.mark.aws_documented
@pytest.mark.parametrize(
    "path",
    [
        "arn%3Aaws%3Abatch%3Aeu-central-1%3A123456789012%3Ajob-queue%2Fq",
        "arn:aws:batch:eu-central-1:123456789012:job-queue/q",
        "arn:aws:batch:eu-central-1:123456789012:job-queue%2Fq",
        "arn%3aaws%3abatch%3aeu-central-1%3a123456789012%3ajob-queue/q",
    ],
)
def test_a_tag_path_carries_the_arn_however_encoded(path):
    match = INDEX.find_by_line("GET", f"/v1/tags/{path}".encode())

    assert match is not None
    assert match.operation.name == "ListTagsForResource"
    assert match.path_members == {"resourceArn": ARN}


@pytest.mark.aws_documented
def test_members_of_path_and_query_are_decoded():
    assert decode(
        "batch", "UntagResource", resourceArn=ARN, query=b"tagKeys=a%20b&tagKeys=c%2Bd+e&x=y"
    ) == {"resourceArn": ARN, "tagKeys": ["a b", "c+d+e"]}
    assert decode("batch", "TagResource", {"tags": {"a": "b"}}, resourceArn=ARN) == {
        "resourceArn": ARN,
        "tags": {"a": "b"},
    }
    with pytest.raises(Refusal, match="tagKeys must be provided"):
        decode("batch", "UntagResource", resourceArn=ARN)
    with pytest.raises(Refusal, match="tags must be at least 1 entries long"):
        decode("batch", "TagResource", {"tags": {}}, resourceArn=ARN)


@pytest.mark.aws_documented
def test_query_parameters_become_members():
    body = (
        b"Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr"
        b"&RoleSessionName=a+b&DurationSeconds=900"
        b"&Tags.member.1.Key=k1&Tags.member.1.Value=&Tags.member.2.Key=k2&Tags.member.2.Value=v2"
    )

    assert decode("sts", "AssumeRole", body) == {
        "RoleArn": "arn:aws:iam::1:role/r",
        "RoleSessionName": "a b",
        "DurationSeconds": 900,
        "Tags": [{"Key": "k1", "Value": ""}, {"Key": "k2", "Value": "v2"}],
    }
    assert refused("sts", "AssumeRole", b"RoleArn=arn:aws:iam::1:role/r1234567890") == (
        "ValidationError",
        "1 validation error detected: Value null at 'RoleSessionName' failed to satisfy"
        " constraint: Member must not be null",
    )


@pytest.mark.unknown
@pytest.mark.parametrize(
    ("change", "member"),
    [
        ({"jobName": "a\0"}, "jobName"),
        ({"tags": {"a\0": "b"}}, "tags.a\\0"),
        ({"tags": {"k": "\0"}}, "tags.k"),
        ({"containerOverrides": {"command": ["sh", "a\0b"]}}, "containerOverrides.command[1]"),
        ({"containerOverrides": {"environment": [{"name": "A", "value": "\0"}], "vcpus": None}},
         "containerOverrides.environment[0].value"),
    ],
)  # fmt: skip
def test_text_with_nul_is_refused(change, member):
    message = f"{member} must not contain NUL characters"
    assert refused("batch", "SubmitJob", JOB | change) == ("ClientException", message)


@pytest.mark.unknown
def test_nul_is_refused_in_a_path_and_a_query_too():
    with pytest.raises(Refusal, match=r"tagKeys\[1\] must not contain NUL"):
        decode("batch", "UntagResource", resourceArn="x", query=b"tagKeys=a&tagKeys=b%00")


@pytest.mark.unknown
def test_what_only_looks_like_nul_is_let_through():
    body = JOB | {"parameters": {"a": "\\u0000", "b": "%00"}}
    assert decode("batch", "SubmitJob", body) == body


@pytest.mark.unknown
def test_output_may_hold_nul_but_not_the_names_around_it():
    lines = [{"timestamp": 1, "message": "a\0b"}]
    put = {"logGroupName": "g", "logStreamName": "s", "logEvents": lines}
    assert decode("logs", "PutLogEvents", put) == put
    code, message = refused("logs", "PutLogEvents", put | {"logStreamName": "s\0"})
    assert code == "InvalidParameterException"
    assert message.endswith(
        "at 'logStreamName' failed to satisfy constraint: Member must not contain NUL characters"
    )
