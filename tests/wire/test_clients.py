"""Real AWS clients against a live server whose handlers echo what they were given."""

import pytest

from batchyard.api import sts

from .conftest import ACCOUNT, REGION


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
