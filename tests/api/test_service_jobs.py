"""Service jobs: submit, describe, list, update, terminate, tag."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import UnitQuantity
from batchyard.model.ids import JobId
from batchyard.model.records import ExitAction, ExitRule, JobProgress, StopCause, WishKind
from batchyard.model.refusal import Refusal
from batchyard.model.status import JobStatus
from batchyard.store import wishes
from tests.api.conftest import ELSEWHERE, NOW_MS, SCOPE, Yard, an_attempt

ARN = "arn:aws:batch:eu-central-1:123456789012:service-job"
QUEUE_ARN = "arn:aws:batch:eu-central-1:123456789012:job-queue/training"
NOBODY = "00000000-0000-4000-8000-000000000000"


def a_payload(count: Any = 1, kind: Any = "ml.m5.large", **more: Any) -> str:
    return json.dumps(
        {
            "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
            "ResourceConfig": {"InstanceType": kind, "InstanceCount": count},
            **more,
        }
    )


def a_request(**members: Any) -> dict[str, Any]:
    return {
        "jobName": "train_it",
        "jobQueue": "training",
        "serviceJobType": "SAGEMAKER_TRAINING",
        "serviceRequestPayload": a_payload(),
        **members,
    }


async def submit(yard: Yard, **members: Any) -> JobId:
    answer = await yard.call("SubmitServiceJob", **a_request(**members))
    return JobId(answer["jobId"])


async def described(yard: Yard, text: str) -> dict[str, Any]:
    return dict(await yard.call("DescribeServiceJob", jobId=text))


@pytest.fixture
async def training(yard: Yard) -> Yard:
    """An account with a service environment and the queue `training` on it."""
    await yard.service_environment()
    await yard.service_queue()
    return yard


# -- submit and describe --------------------------------------------------------------------------


async def test_a_new_job_is_shown_as_it_was_asked_for(training: Yard):
    strategy = {"attempts": 2, "evaluateOnExit": [{"action": "exit", "onStatusReason": "*Oh (no)"}]}
    answer = await training.call(
        "SubmitServiceJob",
        **a_request(
            serviceRequestPayload=a_payload(3),
            retryStrategy=strategy,
            timeoutConfig={"attemptDurationSeconds": 30},
            tags={"k": "v"},
        ),
    )
    job_id = answer["jobId"]
    assert answer == {"jobArn": f"{ARN}/{job_id}", "jobName": "train_it", "jobId": job_id}
    expected = {
        "jobArn": f"{ARN}/{job_id}",
        "jobId": job_id,
        "jobName": "train_it",
        "jobQueue": QUEUE_ARN,
        "status": "SUBMITTED",
        "statusReason": "The scheduler has not seen it yet.",
        "createdAt": NOW_MS,
        "attempts": [],
        "isTerminated": False,
        "capacityUsage": [{"capacityUnit": "ml.m5.large", "quantity": 3.0}],
        "retryStrategy": strategy,
        "serviceJobType": "SAGEMAKER_TRAINING",
        "serviceRequestPayload": a_payload(3),
        "timeoutConfig": {"attemptDurationSeconds": 30},
        "tags": {"k": "v"},
    }
    assert await described(training, job_id) == expected
    assert await described(training, f"{ARN}/{job_id}") == expected


async def test_what_the_engine_gets_of_a_job(training: Yard):
    groups = [
        {"InstanceGroupName": "cpu", "InstanceType": "ml.m5.large", "InstanceCount": 2},
        {"InstanceGroupName": "gpu", "InstanceType": "ml.g5.xlarge", "InstanceCount": 1},
    ]
    job_id = await submit(
        training,
        retryStrategy={"attempts": 4, "evaluateOnExit": [{"action": "RETRY"}]},
        serviceRequestPayload=a_payload(ResourceConfig={"InstanceGroups": groups}),
        preemptionConfiguration={"preemptionRetriesBeforeTermination": 2},
    )
    job = (await training.record(job_id)).job
    assert job.capacity_use == (
        UnitQuantity(unit="ml.m5.large", quantity=2),
        UnitQuantity(unit="ml.g5.xlarge", quantity=1),
    )
    assert job.nodes is not None
    assert [each.gpu_count for each in job.nodes.demands()] == [0, 0, 1]
    assert job.demand == sum(job.nodes.demands(), Amount())
    assert job.nodes.demands()[0] == Amount(cpu_milli=2000, memory_mib=7955)
    assert (job.attempts_max, job.preemption_retries_max) == (4, 2)
    assert job.exit_rules == (ExitRule(action=ExitAction.RETRY),)


@pytest.mark.parametrize(
    ("seconds", "of_sagemaker", "expected_s"),
    [(None, None, 86_400), (60, None, 60), (None, 7, 7), (60, 7, 7), (60, 700, 60)],
)
async def test_the_shorter_of_two_time_limits_counts(
    training: Yard, seconds: int | None, of_sagemaker: int | None, expected_s: int
):
    stopping = {} if of_sagemaker is None else {"MaxRuntimeInSeconds": of_sagemaker}
    members = {} if seconds is None else {"timeoutConfig": {"attemptDurationSeconds": seconds}}
    job_id = await submit(
        training, serviceRequestPayload=a_payload(StoppingCondition=stopping), **members
    )
    assert (await training.record(job_id)).job.timeout_ms == 1000 * expected_s


NOT_VALID = "serviceRequestPayload is not valid: "


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (
            {"jobName": "a job"},
            "jobName must be 1 to 128 letters, digits, hyphens and underscores.",
        ),
        ({"serviceJobType": "EMR"}, "serviceJobType EMR is not SAGEMAKER_TRAINING."),
        ({"jobQueue": "none"}, "JobQueue none not found."),
        (
            {"jobQueue": "jq"},
            "arn:aws:batch:eu-central-1:123456789012:job-queue/jq must have type"
            " SAGEMAKER_TRAINING to take service jobs.",
        ),
        (
            {"serviceRequestPayload": " " * 10_241},
            "serviceRequestPayload can have at most 10240 bytes.",
        ),
        ({"serviceRequestPayload": "{"}, f"{NOT_VALID}Input data was truncated."),
        ({"serviceRequestPayload": "[]"}, f"{NOT_VALID}Expected `object`, got `array`."),
        (
            {"serviceRequestPayload": a_payload(AlgorithmSpecification={})},
            f"{NOT_VALID}AlgorithmSpecification.TrainingImage must be given.",
        ),
        (
            {"serviceRequestPayload": a_payload(AlgorithmSpecification={"AlgorithmName": "x"})},
            f"{NOT_VALID}AlgorithmSpecification.AlgorithmName is not supported: name an image.",
        ),
        (
            {"serviceRequestPayload": a_payload(ResourceConfig={"InstanceCount": 1})},
            f"{NOT_VALID}ResourceConfig.InstanceType and InstanceCount must be given.",
        ),
        (
            {"serviceRequestPayload": a_payload(0)},
            f"{NOT_VALID}InstanceCount must be at least 1.",
        ),
        (
            {"serviceRequestPayload": a_payload(1001)},
            f"{NOT_VALID}a training job cannot have more than 1000 instances here.",
        ),
        (
            {"serviceRequestPayload": a_payload("2")},
            f"{NOT_VALID}Expected `int | null`, got `str` - at `$.ResourceConfig.InstanceCount`.",
        ),
        (
            {"serviceRequestPayload": a_payload(kind="ml.none.large")},
            f"{NOT_VALID}the instance type ml.none.large is not known.",
        ),
        (
            {"serviceRequestPayload": a_payload(kind="m5.large")},
            f"{NOT_VALID}the instance type m5.large is not known.",
        ),
        (
            {"serviceRequestPayload": a_payload(StoppingCondition={"MaxRuntimeInSeconds": 0})},
            f"{NOT_VALID}StoppingCondition.MaxRuntimeInSeconds must be between 1 and 2147483647.",
        ),
        (
            {"serviceRequestPayload": a_payload(StoppingCondition={"MaxRuntimeInSeconds": 2**70})},
            f"{NOT_VALID}StoppingCondition.MaxRuntimeInSeconds must be between 1 and 2147483647.",
        ),
        ({"retryStrategy": {"attempts": 11}}, "Number of attempts must be between 1 and 10."),
        (
            {"retryStrategy": {"attempts": 1, "evaluateOnExit": [{"action": "RETRY"}] * 6}},
            "retryStrategy.evaluateOnExit can have at most 5 items.",
        ),
        (
            {"retryStrategy": {"attempts": 1, "evaluateOnExit": [{"onStatusReason": "*"}]}},
            "retryStrategy.evaluateOnExit[0].action must be RETRY or EXIT.",
        ),
        (
            {
                "retryStrategy": {
                    "attempts": 1,
                    "evaluateOnExit": [{"action": "EXIT", "onStatusReason": "a\nb"}],
                }
            },
            "retryStrategy.evaluateOnExit[0].onStatusReason can have at most 512 printable"
            " characters.",
        ),
        ({"schedulingPriority": 10_000}, "schedulingPriority must be between 0 and 9999."),
        (
            {"timeoutConfig": {"attemptDurationSeconds": 0}},
            "timeoutConfig.attemptDurationSeconds must be at least 1.",
        ),
        (
            {"preemptionConfiguration": {"preemptionRetriesBeforeTermination": -1}},
            "preemptionRetriesBeforeTermination must be at least 0.",
        ),
        ({"clientToken": "x" * 65}, "clientToken can have at most 64 characters."),
        (
            {"shareIdentifier": "a"},
            "shareIdentifier can only be specified for a job queue with fair share scheduling"
            " policy.",
        ),
        (
            {"quotaShareName": "a"},
            "quotaShareName can only be specified for a job queue with a quota share scheduling"
            " policy.",
        ),
    ],
)
async def test_what_cannot_be_submitted(training: Yard, members: Any, text: str):
    await training.environment()
    await training.queue()
    assert await training.refused("SubmitServiceJob", **a_request(**members)) == text


async def test_a_request_has_30_kib_at_most(training: Yard):
    with pytest.raises(Refusal) as refused:
        await training.call("SubmitServiceJob", body_size=30 * 1024 + 1, **a_request())
    assert refused.value.http_status in (400, 413)


async def test_the_same_request_with_the_same_token_is_rejected(training: Yard):
    job_id = await submit(training, clientToken="token")
    refused = await training.refused("SubmitServiceJob", **a_request(clientToken="token"))
    assert refused == (
        f"A service job with the same clientToken and payload was submitted already: {job_id}."
    )
    other = await submit(training, clientToken="token", jobName="other")
    again = await submit(training, clientToken="another")
    training.now_ms += 8 * 60 * 60 * 1000 + 1
    later = await submit(training, clientToken="token")
    assert len({job_id, other, again, later}) == 4
    listed = await training.call("ListServiceJobs", jobQueue="training", jobStatus="SUBMITTED")
    assert len(listed["jobSummaryList"]) == 4


async def test_a_fair_share_queue_wants_a_share(training: Yard):
    policy = await training.call("CreateSchedulingPolicy", name="fair", fairsharePolicy={})
    await training.service_queue("fair", schedulingPolicyArn=policy["arn"])
    refused = await training.refused("SubmitServiceJob", **a_request(jobQueue="fair"))
    assert refused == "shareIdentifier must be specified."
    job_id = await submit(training, jobQueue="fair", shareIdentifier="a", schedulingPriority=7)
    job = await described(training, job_id)
    assert (job["shareIdentifier"], job["schedulingPriority"]) == ("a", 7)


async def test_a_queue_with_quotas_wants_one_that_is_open(yard: Yard):
    policy = await yard.call(
        "CreateSchedulingPolicy",
        name="quotas",
        quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"},
    )
    await yard.service_environment("se", **{"ml.m5.large": 4})
    await yard.service_queue(schedulingPolicyArn=policy["arn"])
    for name, state in (("open", "ENABLED"), ("closed", "DISABLED")):
        await yard.call(
            "CreateQuotaShare",
            quotaShareName=name,
            jobQueue="training",
            state=state,
            capacityLimits=[{"capacityUnit": "ml.m5.large", "maxCapacity": 2}],
            resourceSharingConfiguration={"strategy": "RESERVE"},
            preemptionConfiguration={"inSharePreemption": "DISABLED"},
        )
    await yard.settle()
    for members, text in (
        ({}, "quotaShareName must be specified."),
        ({"quotaShareName": "none"}, "Quota share none does not exist in the job queue."),
        ({"quotaShareName": "closed"}, "Quota share closed is in state DISABLED"),
    ):
        assert await yard.refused("SubmitServiceJob", **a_request(**members)) == text
    job_id = await submit(yard, quotaShareName="open")
    assert (await described(yard, job_id))["quotaShareName"] == "open"
    assert (await yard.record(job_id)).job.quota_share == "open"
    listed = await yard.call(
        "ListServiceJobs",
        jobQueue="training",
        filters=[{"name": "QUOTA_SHARE_NAME", "values": ["open"]}],
    )
    assert [each["jobId"] for each in listed["jobSummaryList"]] == [job_id]


# -- what becomes of it ---------------------------------------------------------------------------


def arn_of(job_id: JobId, number: int) -> dict[str, str]:
    task_id = an_attempt(job_id, number).task_id
    name = f"AWSBatchtrain-it{task_id}"
    return {
        "name": "TrainingJobArn",
        "value": f"arn:aws:sagemaker:eu-central-1:123456789012:training-job/{name}",
    }


async def test_attempts_are_training_jobs(training: Yard):
    job_id = await submit(training)
    failed = an_attempt(
        job_id, 1, started_ms=NOW_MS + 150, stopped_ms=NOW_MS + 190, status_reason="oh", exit_code=1
    )
    preempted = replace(
        an_attempt(job_id, 2, stopped_ms=NOW_MS + 290, status_reason="away"),
        stop_cause=StopCause.CROSS_SHARE_PREEMPTION,
    )
    live = an_attempt(job_id, 3)
    progress = JobProgress(
        status=JobStatus.SCHEDULED,
        attempts=(failed,),
        preempted=(preempted,),
        preempted_count=1,
        attempt=live,
    )
    await training.progress(job_id, progress)
    job = await described(training, job_id)
    assert (job["status"], job["scheduledAt"]) == ("SCHEDULED", NOW_MS + 300)
    assert job["latestAttempt"] == {"serviceResourceId": arn_of(job_id, 3)}
    assert job["attempts"] == [
        {
            "serviceResourceId": arn_of(job_id, 1),
            "startedAt": NOW_MS + 150,
            "stoppedAt": NOW_MS + 190,
            "statusReason": "oh",
        }
    ]
    assert job["preemptionSummary"] == {
        "preemptedAttemptCount": 1,
        "recentPreemptedAttempts": [
            {
                "serviceResourceId": arn_of(job_id, 2),
                "stoppedAt": NOW_MS + 290,
                "statusReason": "away",
            }
        ],
    }
    waiting = replace(progress, status=JobStatus.RUNNABLE, attempt=None)
    await training.progress(job_id, waiting)
    latest = (await described(training, job_id))["latestAttempt"]
    assert latest == {"serviceResourceId": arn_of(job_id, 2)}


async def test_names_of_training_jobs_have_63_characters_at_most(training: Yard):
    job_id = await submit(training, jobName="a" * 128)
    await training.progress(
        job_id, JobProgress(status=JobStatus.SCHEDULED, attempt=an_attempt(job_id))
    )
    value = (await described(training, job_id))["latestAttempt"]["serviceResourceId"]["value"]
    assert len(value.rsplit("/", 1)[1]) == 63


async def test_what_is_unknown_is_refused(training: Yard):
    job_id = await submit(training)
    for text in (NOBODY, "x", f"{ARN}/x", f"{job_id}:0", f"{job_id}#0"):
        refused = await training.refused("DescribeServiceJob", jobId=text)
        assert refused == f"Service job {text} does not exist"
    with pytest.raises(Refusal, match="does not exist"):
        await training.call("DescribeServiceJob", scope=ELSEWHERE, jobId=job_id)


async def test_the_two_kinds_of_jobs_do_not_see_each_other(ready: Yard):
    await ready.service_environment()
    await ready.service_queue()
    service_id, container_id = await submit(ready), await ready.submit()
    assert (await ready.call("DescribeJobs", jobs=[service_id]))["jobs"] == []
    refused = await ready.refused("DescribeServiceJob", jobId=container_id)
    assert refused == f"Service job {container_id} does not exist"
    await ready.call("TerminateJob", jobId=service_id, reason="no")
    await ready.call("CancelJob", jobId=service_id, reason="no")
    await ready.call("TerminateServiceJob", jobId=container_id, reason="no")
    assert await ready.store.read(lambda conn: wishes.read_wishes(conn, 10)) == []
    refused = await ready.refused(
        "SubmitJob",
        jobName="j",
        jobQueue="jq",
        jobDefinition="jd",
        dependsOn=[{"jobId": service_id}],
    )
    assert service_id in refused
    listed = await ready.call("ListJobs", multiNodeJobId=service_id, jobStatus="SUBMITTED")
    assert listed["jobSummaryList"] == []


# -- list -----------------------------------------------------------------------------------------


async def listed(yard: Yard, **members: Any) -> list[str]:
    answer = await yard.call("ListServiceJobs", **{"jobQueue": "training", **members})
    return [each["jobName"] for each in answer["jobSummaryList"]]


async def test_running_jobs_are_listed_unless_others_are_asked_for(training: Yard):
    job_id = await submit(training)
    assert await listed(training) == []
    await training.progress(
        job_id,
        JobProgress(
            status=JobStatus.RUNNING,
            attempt=an_attempt(job_id, started_ms=NOW_MS + 150),
            started_ms=NOW_MS + 150,
        ),
    )
    answer = await training.call("ListServiceJobs", jobQueue=QUEUE_ARN)
    assert answer["jobSummaryList"] == [
        {
            "jobArn": f"{ARN}/{job_id}",
            "jobId": job_id,
            "jobName": "train_it",
            "status": "RUNNING",
            "serviceJobType": "SAGEMAKER_TRAINING",
            "createdAt": NOW_MS,
            "scheduledAt": NOW_MS + 100,
            "startedAt": NOW_MS + 150,
            "capacityUsage": [{"capacityUnit": "ml.m5.large", "quantity": 1.0}],
            "latestAttempt": {"serviceResourceId": arn_of(job_id, 1)},
        }
    ]
    assert await listed(training, jobStatus="SCHEDULED") == []


async def test_filters_and_pages(training: Yard):
    for at, name in enumerate(("Ab", "ab", "abc", "b")):
        training.now_ms = NOW_MS + at
        await submit(training, jobName=name)

    def by(name: str, value: str) -> dict[str, Any]:
        return {"filters": [{"name": name, "values": [value]}], "jobStatus": "FAILED"}

    assert await listed(training, **by("JOB_NAME", "AB")) == ["Ab", "ab"]
    assert await listed(training, **by("JOB_NAME", "ab*")) == ["Ab", "ab", "abc"]
    assert await listed(training, **by("BEFORE_CREATED_AT", str(NOW_MS + 2))) == ["ab", "Ab"]
    assert await listed(training, **by("AFTER_CREATED_AT", str(NOW_MS + 1))) == ["b", "abc"]
    assert await listed(training, **by("SHARE_IDENTIFIER", "x")) == []
    page: dict[str, Any] = {"jobQueue": "training", "jobStatus": "SUBMITTED", "maxResults": 3}
    first = await training.call("ListServiceJobs", **page)
    assert [each["jobName"] for each in first["jobSummaryList"]] == ["b", "abc", "ab"]
    rest = await training.call("ListServiceJobs", **page, nextToken=first["nextToken"])
    assert [each["jobName"] for each in rest["jobSummaryList"]] == ["Ab"]
    assert "nextToken" not in rest


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"jobQueue": ""}, "jobQueue must be provided."),
        (
            {"jobQueue": "none"},
            "arn:aws:batch:eu-central-1:123456789012:job-queue/none does not exist",
        ),
        (
            {"jobQueue": "jq"},
            "arn:aws:batch:eu-central-1:123456789012:job-queue/jq has no service jobs: use"
            " ListJobs.",
        ),
        (
            {"jobStatus": "WAITING"},
            "Job status is not one of SUBMITTED | PENDING | RUNNABLE | SCHEDULED | STARTING |"
            " RUNNING | SUCCEEDED | FAILED",
        ),
        (
            {"filters": [{"name": "JOB_DEFINITION", "values": ["x"]}]},
            "filter JOB_DEFINITION is not one of JOB_NAME, BEFORE_CREATED_AT, AFTER_CREATED_AT,"
            " SHARE_IDENTIFIER, QUOTA_SHARE_NAME.",
        ),
        (
            {"filters": [{"name": "JOB_NAME", "values": ["x"]}] * 2},
            "filters must not have more than 1 item.",
        ),
        ({"maxResults": 0}, "maxResults must be between 1 and 100."),
    ],
)
async def test_what_cannot_be_listed(training: Yard, members: Any, text: str):
    await training.environment()
    await training.queue()
    request = {"jobQueue": "training", **members}
    assert await training.refused("ListServiceJobs", **request) == text


# -- update, terminate, tags ----------------------------------------------------------------------


async def test_a_waiting_job_gets_another_priority(training: Yard):
    job_id = await submit(training, schedulingPriority=1)
    answer = await training.call("UpdateServiceJob", jobId=f"{ARN}/{job_id}", schedulingPriority=8)
    assert answer == {"jobArn": f"{ARN}/{job_id}", "jobName": "train_it", "jobId": job_id}
    assert (await described(training, job_id))["schedulingPriority"] == 8
    [wish] = await training.store.read(lambda conn: wishes.read_wishes(conn, 10))
    assert (wish.kind, wish.job_id, wish.priority) == (WishKind.PRIORITIZE, job_id, 8)


async def test_what_cannot_be_updated(training: Yard):
    job_id = await submit(training)
    update = {"jobId": job_id, "schedulingPriority": 10_000}
    refused = await training.refused("UpdateServiceJob", **update)
    assert refused == "schedulingPriority must be between 0 and 9999."
    refused = await training.refused("UpdateServiceJob", jobId=NOBODY, schedulingPriority=1)
    assert refused == f"Service job {NOBODY} does not exist"
    await training.progress(job_id, JobProgress(status=JobStatus.FAILED, stopped_ms=NOW_MS))
    refused = await training.refused("UpdateServiceJob", jobId=job_id, schedulingPriority=1)
    assert refused == f"Service job {job_id} is in status FAILED and cannot be updated."


async def test_terminating_is_a_wish(training: Yard):
    job_id = await submit(training)
    assert await training.call("TerminateServiceJob", jobId=job_id, reason="enough") == {}
    assert await training.call("TerminateServiceJob", jobId=NOBODY, reason="enough") == {}
    assert await training.call("TerminateServiceJob", jobId="x", reason="enough") == {}
    [wish] = await training.store.read(lambda conn: wishes.read_wishes(conn, 10))
    assert (wish.kind, wish.job_id, wish.reason) == (WishKind.TERMINATE, job_id, "enough")
    for request, text in (
        ({"jobId": "", "reason": "r"}, "jobId must be provided"),
        ({"jobId": job_id, "reason": ""}, "reason must be provided"),
    ):
        assert await training.refused("TerminateServiceJob", **request) == text


async def test_many_are_terminated_at_once(training: Yard):
    first, second = await submit(training), await submit(training)
    answer = await training.call(
        "TerminateServiceJobs", jobs=[first, f"{ARN}/{second}", NOBODY, "x"], reason="enough"
    )
    assert answer == {
        "successful": [first, f"{ARN}/{second}", NOBODY],
        "errors": [
            {"job": "x", "code": "ValidationException", "message": "Job ID x is not valid."}
        ],
    }
    found = await training.store.read(lambda conn: wishes.read_wishes(conn, 10))
    assert [each.job_id for each in found] == [first, second]
    refused = await training.refused("TerminateServiceJobs", jobs=["x"] * 51, reason="enough")
    assert refused == "jobs must not have more than 50 items."


async def test_tags_of_a_service_job(training: Yard):
    job_id = await submit(training, tags={"a": "1"})
    arn = SCOPE.service_job_arn(job_id)
    await training.call("TagResource", resourceArn=arn, tags={"b": "2"})
    assert (await described(training, job_id))["tags"] == {"a": "1", "b": "2"}
    await training.call("UntagResource", resourceArn=arn, tagKeys=["a"])
    assert (await training.call("ListTagsForResource", resourceArn=arn))["tags"] == {"b": "2"}
    job_arn = SCOPE.job_arn(job_id)
    refused = await training.refused("ListTagsForResource", resourceArn=job_arn)
    assert refused == f"{job_arn} does not exist"
