"""Real AWS clients against a live server whose handlers echo what they were given."""

import json
import os
import subprocess
import sys

import pytest
from botocore.exceptions import ClientError

from batchyard.api import sts

from .conftest import ACCOUNT, KEY, REGION


@pytest.mark.aws_documented
def test_a_submitted_job_arrives_in_the_models_own_names(serve):
    seen = []

    async def submit(call, request):
        seen.append((call, request))
        return {"jobName": request["jobName"], "jobId": "x", "jobArn": None, "unheardOf": 1}

    client = serve({("batch", "SubmitJob"): submit}).client("batch")
    request = {
        "jobName": "a",
        "jobQueue": "q",
        "jobDefinition": "d:1",
        "containerOverrides": {"environment": [{"name": "A", "value": "B"}], "command": ["x"]},
        "tags": {"k": "v"},
    }
    answer = client.submit_job(**request)

    assert seen[0][1] == request
    call = seen[0][0]
    assert (call.scope.account, call.scope.region) == (ACCOUNT, REGION)
    assert call.body_size > 100
    metadata = answer.pop("ResponseMetadata")
    assert answer == {"jobName": "a", "jobId": "x"}
    assert metadata["RequestId"] == call.request_id


@pytest.mark.aws_documented
def test_sts_says_who_signed(serve):
    answer = serve(sts.handlers()).client("sts").get_caller_identity()

    assert answer["Account"] == ACCOUNT
    assert answer["UserId"] == ACCOUNT
    assert answer["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"


@pytest.mark.aws_documented
@pytest.mark.parametrize("name", ["q", "a-b_c", "jd:3"])
def test_tags_of_an_arn_are_reached(serve, name):
    kept: dict[str, dict[str, str]] = {}

    async def tag(call, request):
        kept.setdefault(request["resourceArn"], {}).update(request["tags"])

    async def untag(call, request):
        for key in request["tagKeys"]:
            kept[request["resourceArn"]].pop(key)

    async def read(call, request):
        return {"tags": kept[request["resourceArn"]]}

    client = serve(
        {
            ("batch", "TagResource"): tag,
            ("batch", "UntagResource"): untag,
            ("batch", "ListTagsForResource"): read,
        }
    ).client("batch")
    arn = f"arn:aws:batch:{REGION}:{ACCOUNT}:job-queue/{name}"

    client.tag_resource(resourceArn=arn, tags={"a b": "c/d", "é+&=": "%41", "x": ""})
    client.untag_resource(resourceArn=arn, tagKeys=["a b", "x"])

    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"é+&=": "%41"}


@pytest.mark.aws_documented
def test_logs_speaks_its_own_protocol(serve):
    seen = []

    async def events(call, request):
        seen.append(request)
        return {
            "events": [{"timestamp": 1_700_000_000_000, "message": "é", "ingestionTime": None}],
            "nextForwardToken": "f/1",
            "nextBackwardToken": "b/1",
        }

    client = serve({("logs", "GetLogEvents"): events}).client("logs")
    answer = client.get_log_events(logGroupName="g", logStreamName="s", startFromHead=True)

    assert seen == [{"logGroupName": "g", "logStreamName": "s", "startFromHead": True}]
    del answer["ResponseMetadata"]
    assert answer == {
        "events": [{"timestamp": 1_700_000_000_000, "message": "é"}],
        "nextForwardToken": "f/1",
        "nextBackwardToken": "b/1",
    }


@pytest.mark.aws_documented
def test_sts_errors_and_unsupported_operations_reach_the_client(serve):
    client = serve(sts.handlers()).client("sts")

    with pytest.raises(ClientError) as info:
        client.assume_role(RoleArn="arn:aws:iam::1:role/role-name", RoleSessionName="ab")
    assert info.value.response["Error"]["Code"] == "InvalidAction"
    assert "AssumeRole is not supported yet by batchyard" in str(info.value)


@pytest.mark.aws_documented
@pytest.mark.slow
def test_the_aws_cli_is_served(serve, tmp_path):
    async def queues(call, request):
        return {"jobQueues": [{"jobQueueName": request["jobQueues"][0], "state": "ENABLED"}]}

    server = serve({("batch", "DescribeJobQueues"): queues} | sts.handlers())
    environment = {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": KEY.id,
        "AWS_SECRET_ACCESS_KEY": KEY.secret,
        "AWS_DEFAULT_REGION": REGION,
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
    }

    def aws(*arguments):
        command = [sys.executable, "-m", "awscli", *arguments]
        run = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
        return json.loads(run.stdout)

    assert aws("batch", "describe-job-queues", "--job-queues", "high") == {
        "jobQueues": [{"jobQueueName": "high", "state": "ENABLED"}]
    }
    assert aws("sts", "get-caller-identity")["Account"] == ACCOUNT
