"""From a job to its task and its instance by ECS, with boto3. A real server, real containers."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.e2e.live_yard import DEFINITION, QUEUE, REGION, LiveYard, live_yard, until

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

HOLD = "until [ -e /ledger/go ]; do sleep 0.05; done"


@pytest.fixture(scope="module")
def yard() -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=4, instance_idle_s=0) as made:
        made.make_other_queue(QUEUE, max_vcpus=4, instance_types=["c6i.large"])
        made.register()
        yield made


def cluster_of(yard: LiveYard) -> str:
    [found] = yard.batch.describe_compute_environments(computeEnvironments=[QUEUE])[
        "computeEnvironments"
    ]
    arn: str = found["ecsClusterArn"]
    return arn


def resources(shown: list[dict[str, Any]]) -> dict[str, int]:
    return {each["name"]: each["integerValue"] for each in shown}


def assert_tasks_are_the_jobs(
    ecs: Any, cluster: str, tasks: list[str], jobs: list[dict[str, Any]]
) -> None:
    answer = ecs.describe_tasks(cluster=cluster, tasks=[*tasks, "0" * 32], include=["TAGS"])
    assert answer["failures"] == [{"arn": "0" * 32, "reason": "MISSING"}]
    for task, job in zip(answer["tasks"], jobs, strict=True):
        assert task["taskArn"] == job["container"]["taskArn"]
        assert task["containerInstanceArn"] == job["container"]["containerInstanceArn"]
        assert (task["lastStatus"], task["launchType"]) == ("RUNNING", "EC2")
        assert (task["cpu"], task["memory"]) == ("1024", "16")
        assert [each["name"] for each in task["containers"]] == ["default"]
        assert task["startedAt"].timestamp() == job["startedAt"] / 1000


def assert_tasks_have_ended(ecs: Any, cluster: str, tasks: list[str]) -> None:
    listed = ecs.list_tasks(cluster=cluster, desiredStatus="STOPPED")["taskArns"]
    assert listed == sorted(tasks)
    answer = ecs.describe_tasks(cluster=cluster, tasks=tasks)
    assert answer["failures"] == []
    for task in answer["tasks"]:
        assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "EssentialContainerExited")
        assert task["stoppedReason"] == "Essential container in task exited"
        assert [each["exitCode"] for each in task["containers"]] == [0]
        assert task["stoppedAt"] >= task["startedAt"]


def test_a_job_is_followed_to_its_task_and_its_instance(yard: LiveYard) -> None:
    ecs, cluster = yard.client("ecs"), cluster_of(yard)
    array_id = yard.batch.submit_job(
        jobName="array",
        jobQueue=QUEUE,
        jobDefinition=DEFINITION,
        arrayProperties={"size": 2},
        containerOverrides={"command": ["sh", "-c", HOLD]},
    )["jobId"]
    ids = [f"{array_id}:{index}" for index in range(2)]
    until(lambda: len(yard.batch.describe_jobs(jobs=ids)["jobs"]) == 2, "the children")
    yard.reach("RUNNING", *ids)
    jobs = yard.jobs(*ids)
    tasks = [job["container"]["taskArn"] for job in jobs]
    instance_arns = {job["container"]["containerInstanceArn"] for job in jobs}
    assert ecs.list_clusters()["clusterArns"] == [cluster]
    assert sorted(ecs.list_tasks(cluster=cluster)["taskArns"]) == sorted(tasks)
    assert_tasks_are_the_jobs(ecs, cluster, tasks, jobs)
    listed = ecs.list_container_instances(cluster=cluster)["containerInstanceArns"]
    assert set(listed) == instance_arns
    [instance] = ecs.describe_container_instances(cluster=cluster, containerInstances=listed)[
        "containerInstances"
    ]
    assert (instance["status"], instance["runningTasksCount"]) == ("ACTIVE", 2)
    cpus = [resources(instance[f"{each}Resources"])["CPU"] for each in ("registered", "remaining")]
    assert cpus == [2048, 0]
    attributes = {each["name"]: each["value"] for each in instance["attributes"]}
    assert attributes["ecs.instance-type"] == "c6i.large"
    [shown] = ecs.describe_clusters(clusters=[cluster], include=["STATISTICS"])["clusters"]
    assert (shown["registeredContainerInstancesCount"], shown["runningTasksCount"]) == (1, 2)
    assert {"name": "runningEC2TasksCount", "value": "2"} in shown["statistics"]

    ec2, instance_id = yard.client("ec2"), instance["ec2InstanceId"]
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    [machine] = reservation["Instances"]
    assert (machine["InstanceType"], machine["State"]["Name"]) == ("c6i.large", "running")
    assert "InstanceLifecycle" not in machine
    assert {"Key": "AWSBatchServiceTag", "Value": "batch"} in machine["Tags"]

    yard.release("go")
    yard.reach("SUCCEEDED", *ids)
    assert ecs.list_tasks(cluster=cluster)["taskArns"] == []
    assert_tasks_have_ended(ecs, cluster, tasks)
    until(
        lambda: not ecs.list_container_instances(cluster=cluster)["containerInstanceArns"],
        "the end of the instance",
    )
    [ended] = ecs.describe_container_instances(cluster=cluster, containerInstances=listed)[
        "containerInstances"
    ]
    assert (ended["status"], ended["ec2InstanceId"]) == ("INACTIVE", instance_id)
    for name, state, count in (
        ("instance-state-name", "terminated", 1),
        ("instance-state-name", "running", 0),
        ("tag:AWSBatchServiceTag", "b*", 1),
        ("tag:other", "*", 0),
    ):
        filters = [{"Name": name, "Values": [state]}]
        pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
        found = [each for page in pages for each in page["Reservations"]]
        assert len(found) == count, (name, state)


def test_whatever_ec2_is_sent_is_refused_in_its_form(yard: LiveYard) -> None:
    """What botocore would never send, by hand; the server's log must hold no failure at the end."""
    for form in (
        "Action=DescribeInstances&MaxResults=x",
        "Action=DescribeInstances&MaxResults=99999999999999999999",
        "Action=DescribeInstances&MaxResults=-1",
        "Action=DescribeInstances&DryRun=maybe",
        "Action=DescribeInstances&NextToken=%00",
        "Action=DescribeInstances&NextToken=",
        "Action=DescribeInstances&Filter.1.Value.1=x",
        "Action=DescribeInstances&Filter.1.Name=" + "x" * 40_000,
        "Action=DescribeInstances&InstanceId.1=",
        "Action=DescribeInstances&InstanceId.1=" + "i" * 40_000,
        "Action=DescribeInstances&InstanceId.1=%ED%A0%80",
        "Action=DescribeInstanceTypes&InstanceType.1=%00",
        "Action=DescribeInstanceTypes&InstanceType.1=../../x",
        "Action=DescribeInstanceTypes&MaxResults=1.5",
        "Action=DescribeInstanceTypes&NextToken=%25",
    ):
        status, body = post_ec2(yard, f"{form}&Version=2016-11-15")
        code = body.partition("<Code>")[2].partition("</Code>")[0]
        known = code.startswith(("InvalidParameter", "InvalidInstance", "DryRun"))
        assert (status in (400, 412), known) == (True, True), (form[:80], status, body[:300])


def post_ec2(yard: LiveYard, form: str) -> tuple[int, str]:
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = AWSRequest("POST", f"{yard.endpoint}/", headers=headers, data=form)
    keys = Credentials(yard.key["access_key_id"], yard.key["secret_access_key"])
    SigV4Auth(keys, "ec2", REGION).add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", yard.port, timeout=20)
    connection.request("POST", "/", form, headers=dict(request.headers.items()))
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_what_is_not_there_and_what_would_change_something_is_refused(yard: LiveYard) -> None:
    ecs = yard.client("ecs")
    ec2 = yard.client("ec2")
    for instance_id, code, text in (
        ("i-1", "InvalidInstanceID.Malformed", 'Invalid id: "i-1"'),
        (
            "i-0123456789abcdef0",
            "InvalidInstanceID.NotFound",
            "The instance ID 'i-0123456789abcdef0' does not exist",
        ),
    ):
        with pytest.raises(ClientError) as refused:
            ec2.describe_instances(InstanceIds=[instance_id])
        assert refused.value.response["Error"] == {"Code": code, "Message": text}
    with pytest.raises(ClientError) as refused:
        ec2.terminate_instances(InstanceIds=["i-0123456789abcdef0"])
    assert refused.value.response["Error"]["Code"] == "UnauthorizedOperation"
    [kind] = ec2.describe_instance_types(InstanceTypes=["c6i.large"])["InstanceTypes"]
    assert (kind["VCpuInfo"]["DefaultVCpus"], kind["MemoryInfo"]["SizeInMiB"]) == (2, 4096)
    arm = [{"Name": "processor-info.supported-architecture", "Values": ["arm64"]}]
    pages = ec2.get_paginator("describe_instance_types").paginate(Filters=arm)
    names = [each["InstanceType"] for page in pages for each in page["InstanceTypes"]]
    assert len(names) > 100
    assert "c6g.large" in names
    assert "c6i.large" not in names
    for ask in (ecs.list_tasks, ecs.list_container_instances):
        with pytest.raises(ClientError) as refused:
            ask(cluster="nowhere")
        assert refused.value.response["Error"] == {
            "Code": "ClusterNotFoundException",
            "Message": "Cluster not found.",
        }
    [failure] = ecs.describe_clusters(clusters=["nowhere"])["failures"]
    assert failure["reason"] == "MISSING"
    with pytest.raises(ClientError) as refused:
        ecs.stop_task(cluster=cluster_of(yard), task="0" * 32)
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
    with pytest.raises(ClientError) as refused:
        ec2.describe_instances(DryRun=True)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert refused.value.response["Error"]["Code"] == "DryRunOperation"
    with pytest.raises(ClientError) as refused:
        ec2.describe_instances(Filters=[{"Name": "bogus", "Values": ["x"]}])
    assert refused.value.response["Error"] == {
        "Code": "InvalidParameterValue",
        "Message": "The filter 'bogus' is invalid",
    }
    empty: list[str] = []
    for tasks in (empty, ["0"] * 101):
        with pytest.raises(ClientError) as refused:
            ecs.describe_tasks(cluster=cluster_of(yard), tasks=tasks)
        assert refused.value.response["Error"]["Code"] == "InvalidParameterException"
