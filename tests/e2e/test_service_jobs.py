"""Service jobs through the front door: real containers under SageMaker's container contract.

Goal: a training program that knows nothing but `/opt/ml` finds its hyperparameters and its data,
leaves a model, and says why it failed; several instances find each other by name; nothing is lost
when the server is killed. Method: images with a shell as `train`, driven through boto3.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.live_yard import LiveYard, live_yard, until

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

QUEUE = "training"
GROUP = "/aws/sagemaker/TrainingJobs"
BUCKET = "s3://lab"
#: Heeds SIGTERM at once.
HEED = "trap 'exit 143' TERM\n"
#: Until it heeds SIGTERM, a first process does not hear it, and lives for the two minutes of grace.
HOLD = "echo heeding\nwhile :; do sleep 0.05; done"


class Lab:
    """A server with a service environment, and folders that stand for S3."""

    def __init__(self, yard: LiveYard, data: Path) -> None:
        self.yard, self.data = yard, data
        self.batch = yard.batch

    def make_queue(self, name: str = QUEUE, *, instances: int = 8) -> None:
        self.batch.create_service_environment(
            serviceEnvironmentName=name,
            serviceEnvironmentType="SAGEMAKER_TRAINING",
            capacityLimits=[{"capacityUnit": "NUM_INSTANCES", "maxCapacity": instances}],
        )
        until(
            lambda: (
                self.batch.describe_service_environments(serviceEnvironments=[name])[
                    "serviceEnvironments"
                ][0]["status"]
                == "VALID"
            ),
            "VALID service environment",
        )
        self.batch.create_job_queue(
            jobQueueName=name,
            jobQueueType="SAGEMAKER_TRAINING",
            priority=1,
            serviceEnvironmentOrder=[{"order": 1, "serviceEnvironment": name}],
        )
        until(
            lambda: (
                self.batch.describe_job_queues(jobQueues=[name])["jobQueues"][0]["status"]
                == "VALID"
            ),
            "VALID queue",
        )

    def submit(
        self, script: str, *, count: int = 1, queue: str = QUEUE, more=None, **payload: Any
    ) -> str:
        request = {
            "AlgorithmSpecification": {
                "TrainingImage": "busybox",
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["sh", "-c"],
                "ContainerArguments": [HEED + script],
            },
            "RoleArn": "arn:aws:iam::000000000000:role/training",
            "ResourceConfig": {
                "InstanceType": "ml.m5.large",
                "InstanceCount": count,
                "VolumeSizeInGB": 1,
            },
            "OutputDataConfig": {"S3OutputPath": f"{BUCKET}/results"},
            **payload,
        }
        answer = self.batch.submit_service_job(
            jobName="fit_model",
            jobQueue=queue,
            serviceJobType="SAGEMAKER_TRAINING",
            serviceRequestPayload=json.dumps(request),
            **(more or {}),
        )
        return str(answer["jobId"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.batch.describe_service_job(jobId=job_id))

    def reach(self, status: str, job_id: str) -> dict[str, Any]:
        until(lambda: self.job(job_id)["status"] == status, f"{job_id} {status}")
        return self.job(job_id)

    def heeding(self, job_id: str, *, count: int = 1) -> dict[str, Any]:
        """Wait until every instance of a job that holds heeds SIGTERM."""
        job = self.reach("RUNNING", job_id)
        heeding = [["heeding"]] * count
        until(lambda: list(self.lines(job_id).values()) == heeding, f"{count} that heed signals")
        return job

    def ended(self, job_id: str) -> dict[str, Any]:
        until(lambda: self.job(job_id)["status"] in ("SUCCEEDED", "FAILED"), f"end of {job_id}")
        return self.job(job_id)

    def name_of(self, job_id: str) -> str:
        arn = self.job(job_id)["latestAttempt"]["serviceResourceId"]["value"]
        return str(arn).rsplit("/", 1)[-1]

    def lines(self, job_id: str) -> dict[str, list[str]]:
        """What each instance printed, by its name."""
        name = self.name_of(job_id)
        streams = self.yard.logs.describe_log_streams(
            logGroupName=GROUP, logStreamNamePrefix=f"{name}/"
        )["logStreams"]
        return {
            each["logStreamName"].split("/")[1].rsplit("-", 1)[0]: self.yard.lines_of(
                each["logStreamName"], GROUP
            )
            for each in streams
        }


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    data = tmp_path_factory.mktemp("s3")
    (data / "train").mkdir()
    (data / "train" / "numbers").write_text("1\n2\n3\n")
    with live_yard(machine_vcpus=64, training_folders=f"{BUCKET}={data}") as yard:
        made = Lab(yard, data)
        made.make_queue()
        yield made


#: Adds its data up, as often as a hyperparameter says, and leaves the sum.
FIT = """
cd /opt/ml
times=$(sed 's/.*"epochs":"\\([0-9]*\\)".*/\\1/' input/config/hyperparameters.json)
sum=0
for number in $(cat input/data/train/numbers); do sum=$((sum + number * times)); done
echo $sum > model/weights
ln -s /etc/passwd model/link
echo more > output/data/metrics
echo "$TRAINING_JOB_NAME $(hostname) $(ls input/data) $sum"
echo "$GREETING"
stat -c %a input input/config input/data/train input/config/resourceconfig.json model | tr '\\n' ' '
grep -c algo-1 /etc/hosts
cat input/config/resourceconfig.json
"""


def test_a_training_program_finds_its_data_and_leaves_a_model(lab: Lab) -> None:
    job_id = lab.submit(
        FIT,
        HyperParameters={"epochs": "7"},
        Environment={"GREETING": "hello there"},
        InputDataConfig=[
            {
                "ChannelName": "train",
                "DataSource": {
                    "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{BUCKET}/train/"}
                },
            }
        ],
    )
    job = lab.ended(job_id)
    assert (job["status"], job["statusReason"]) == (
        "SUCCEEDED",
        "Received status from SageMaker: Training job completed",
    )
    assert job["createdAt"] <= job["scheduledAt"] <= job["startedAt"] <= job["stoppedAt"]
    name = lab.name_of(job_id)
    assert name.startswith("AWSBatchfit-model")
    assert len(job["attempts"]) == 1
    lines = lab.lines(job_id)["algo-1"]
    assert lines[0] == f"{name} algo-1 train 42"
    assert lines[1] == "hello there"
    assert lines[2].split()[:2] + lines[2].split()[3:] == ["755", "755", "644", "777", "1"]
    assert json.loads(lines[3]) == {
        "current_host": "algo-1",
        "current_instance_type": "ml.m5.large",
        "current_group_name": "homogeneousCluster",
        "hosts": ["algo-1"],
        "instance_groups": [
            {
                "instance_group_name": "homogeneousCluster",
                "instance_type": "ml.m5.large",
                "hosts": ["algo-1"],
            }
        ],
        "network_interface_name": "lo",
    }
    results = lab.data / "results" / name / "output"
    with tarfile.open(results / "model.tar.gz") as model:
        weights = model.extractfile("weights")
        assert weights is not None
        assert weights.read() == b"42\n"
        assert model.getmember("link").issym(), "what a job links to is not packed"
    with tarfile.open(results / "output.tar.gz") as output:
        assert output.getnames() == ["metrics"]


def test_a_failure_tells_what_the_program_left_and_is_tried_again(lab: Lab) -> None:
    job_id = lab.submit(
        "echo 'the loss is not a number' > /opt/ml/output/failure; exit 3",
        more={
            "retryStrategy": {
                "attempts": 3,
                "evaluateOnExit": [
                    {"action": "RETRY", "onStatusReason": "*not a number*"},
                    {"action": "EXIT", "onStatusReason": "*"},
                ],
            }
        },
    )
    job = lab.ended(job_id)
    expected = (
        "Received status from SageMaker: AlgorithmError: the loss is not a number, exit code: 3"
    )
    assert (job["status"], job["statusReason"]) == ("FAILED", expected)
    assert [each["statusReason"] for each in job["attempts"]] == [expected] * 3
    values = {each["serviceResourceId"]["value"] for each in job["attempts"]}
    assert len(values) == 3, "each attempt is a training job of its own"


def test_what_a_program_links_its_failure_to_is_not_read(lab: Lab) -> None:
    job_id = lab.submit("ln -s /etc/hostname /opt/ml/output/failure; exit 1")
    assert lab.ended(job_id)["statusReason"] == (
        "Received status from SageMaker: AlgorithmError: , exit code: 1"
    )


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (
            {"AlgorithmSpecification": {"TrainingImage": "nowhere.invalid/none:1"}},
            "ClientError: CannotPullContainerError: ",
        ),
        (
            {"CheckpointConfig": {"S3Uri": "s3://elsewhere/checkpoints"}},
            "ClientError: Data download failed: s3://elsewhere/checkpoints has no folder on this"
            " machine: map a prefix of it in the setting training_folders",
        ),
        ({"EnableNetworkIsolation": True}, "ValidationException: EnableNetworkIsolation is not"),
    ],
)
def test_what_cannot_be_run_says_why(lab: Lab, payload: dict[str, Any], text: str) -> None:
    job = lab.ended(lab.submit("true", **payload))
    assert job["status"] == "FAILED"
    assert job["statusReason"].startswith(f"Received status from SageMaker: {text}")


def test_data_that_are_not_there_fail_the_job(lab: Lab) -> None:
    uri = f"{BUCKET}/none"
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
    job = lab.ended(
        lab.submit("true", InputDataConfig=[{"ChannelName": "c", "DataSource": source}])
    )
    assert job["statusReason"] == (
        "Received status from SageMaker: ClientError: Data download failed: channel c: there is"
        f" nothing at {uri}"
    )


#: Asks the next instance for its name, and waits until all have been asked.
RING = """
me=$(hostname); number=${me#algo-}; next=algo-$((number % 3 + 1))
mkdir /tmp/www; echo "I am $me" > /tmp/www/name; httpd -p 7000 -h /tmp/www
until wget -q -O /tmp/got http://$next:7000/name 2> /dev/null; do sleep 0.05; done
cat /tmp/got; touch /opt/ml/model/$me
until [ $(ls /opt/ml/model | wc -l) = 3 ]; do sleep 0.05; done
"""


def test_instances_find_each_other_by_name_and_share_a_model(lab: Lab) -> None:
    job_id = lab.submit(RING, count=3)
    job = lab.ended(job_id)
    assert job["status"] == "SUCCEEDED", (job["statusReason"], lab.lines(job_id))
    assert job["capacityUsage"] == [{"capacityUnit": "ml.m5.large", "quantity": 3.0}]
    assert lab.lines(job_id) == {
        "algo-1": ["I am algo-2"],
        "algo-2": ["I am algo-3"],
        "algo-3": ["I am algo-1"],
    }
    path = lab.data / "results" / lab.name_of(job_id) / "output" / "model.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as model:
        assert model.getnames() == ["algo-1", "algo-2", "algo-3"]


def test_terminating_ends_a_job_that_runs(lab: Lab) -> None:
    job_id = lab.submit(HOLD)
    running = lab.heeding(job_id)
    listed = lab.batch.list_service_jobs(jobQueue=QUEUE)["jobSummaryList"]
    assert [each["jobId"] for each in listed] == [job_id]
    lab.batch.terminate_service_job(jobId=running["jobArn"], reason="seen enough")
    job = lab.ended(job_id)
    assert (job["status"], job["statusReason"], job["isTerminated"]) == (
        "FAILED",
        "seen enough",
        True,
    )


def test_a_limit_of_instances_holds_up_who_comes_later(lab: Lab) -> None:
    lab.make_queue("narrow", instances=2)
    first = lab.submit(HOLD, count=2, queue="narrow")
    lab.heeding(first, count=2)
    second = lab.submit("true", queue="narrow")
    lab.reach("RUNNABLE", second)
    expected = "narrow uses 2 of 2 NUM_INSTANCES; asked 1: short by 1."
    until(lambda: lab.job(second).get("statusReason") == expected, expected)
    until(
        lambda: lab.batch.get_job_queue_snapshot(jobQueue="narrow")["frontOfQueue"]["jobs"],
        "a snapshot",
    )
    snapshot = lab.batch.get_job_queue_snapshot(jobQueue="narrow")
    assert [each["jobArn"] for each in snapshot["frontOfQueue"]["jobs"]] == [
        lab.job(second)["jobArn"]
    ]
    assert snapshot["queueUtilization"]["totalCapacityUsage"] == [
        {"capacityUnit": "ml.m5.large", "quantity": 2.0}
    ]
    lab.batch.terminate_service_job(jobId=first, reason="make room")
    assert lab.ended(second)["status"] == "SUCCEEDED"


def test_a_job_and_its_model_survive_the_server(lab: Lab) -> None:
    (lab.data / "go").mkdir()
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{BUCKET}/go"}}
    job_id = lab.submit(
        "cd /opt/ml\necho began > checkpoints/state\n"
        "until [ -e input/data/go/go ]; do sleep 0.05; done\necho done > model/m",
        InputDataConfig=[{"ChannelName": "go", "DataSource": source}],
        CheckpointConfig={"S3Uri": f"{BUCKET}/checkpoints"},
    )
    until(lambda: (lab.data / "checkpoints" / "state").exists(), "a checkpoint")
    lab.yard.kill()
    (lab.data / "go" / "go").touch()
    lab.yard.start()
    job = lab.ended(job_id)
    assert (job["status"], len(job["attempts"])) == ("SUCCEEDED", 1)
    path = lab.data / "results" / lab.name_of(job_id) / "output" / "model.tar.gz"
    with tarfile.open(path) as model:
        assert model.getnames() == ["m"]
    folder = lab.yard.data_path / "training"
    until(lambda: not [*folder.iterdir()], "that nothing is left of jobs that are over")
