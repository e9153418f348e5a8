"""Jobs that look around: each has a definition of its own, and the test reads what it saw."""

from pathlib import Path
from typing import Any

from tests.e2e.live_yard import QUEUE, LiveYard, groups_of

FARGATE_QUEUE = "fargate"
EXECUTION_ROLE = "arn:aws:iam::000000000000:role/ecsTaskExecutionRole"
NOT_STARTED = "Task failed to start"
#: What a job does that the test looks at while it runs; it ends once the file is there.
HOLD = "until [ -e /ledger/{} ]; do sleep 0.05; done\n"


def start(yard: LiveYard, script: str, *, queue: str = QUEUE, **members: Any) -> str:
    """Start a job of a definition of its own; what is not a member of the definition is one of
    its container."""
    of_definition = {
        name: members.pop(name)
        for name in ("parameters", "tags", "propagateTags", "timeout", "platformCapabilities")
        if name in members
    }
    submission = members.pop("submission", {})
    ledger = {"name": "ledger", "host": {"sourcePath": str(yard.ledger_path)}}
    point = {"sourceVolume": "ledger", "containerPath": "/ledger"}
    container: dict[str, Any] = {
        "image": "busybox",
        "command": ["sh", "-c", script],
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "32"},
        ],
    } | members
    if queue == FARGATE_QUEUE:
        of_definition["platformCapabilities"] = ["FARGATE"]
        container.setdefault("executionRoleArn", EXECUTION_ROLE)
    else:
        container["volumes"] = [ledger, *container.get("volumes", [])]
        container["mountPoints"] = [point, *container.get("mountPoints", [])]
    definition = yard.batch.register_job_definition(
        jobDefinitionName="seen",
        type="container",
        containerProperties={name: each for name, each in container.items() if each is not None},
        **of_definition,
    )["jobDefinitionArn"]
    job_id: str = yard.batch.submit_job(
        jobName="seen", jobQueue=queue, jobDefinition=definition, **submission
    )["jobId"]
    return job_id


def see(yard: LiveYard, script: str, **members: Any) -> list[str]:
    """Run a job that must succeed; give what it printed."""
    job_id = start(yard, script, **members)
    [job] = yard.ended(job_id)
    assert job["status"] == "SUCCEEDED", (job["statusReason"], job["container"], members)
    return yard.lines(job_id)


def why_not(yard: LiveYard, script: str = "echo never", **members: Any) -> str:
    """Run a job that cannot start; give its reason."""
    [job] = yard.ended(start(yard, script, **members))
    assert (job["status"], job["statusReason"]) == ("FAILED", NOT_STARTED)
    assert "exitCode" not in job["container"]
    reason: str = job["container"]["reason"]
    assert job["attempts"][-1]["container"]["reason"] == reason
    assert len(reason) <= 255
    return reason


def linux(**parameters: Any) -> dict[str, Any]:
    return {"linuxParameters": parameters}


def fargate(
    yard: LiveYard, script: str, *, vcpu: str = "0.25", memory: str = "512", **members: Any
) -> str:
    requirements = [{"type": "VCPU", "value": vcpu}, {"type": "MEMORY", "value": memory}]
    return start(yard, script, queue=FARGATE_QUEUE, resourceRequirements=requirements, **members)


def volume(path: str = "/v", *, is_read_only: bool = False, **source: Any) -> dict[str, Any]:
    point = {"sourceVolume": "v", "containerPath": path, "readOnly": is_read_only}
    return {"volumes": [{"name": "v", **source}], "mountPoints": [point]}


def limit(yard: LiveYard, job_id: str, name: str) -> str | None:
    """What a file of the control group of a running job holds; None where there is no such file."""
    task_id = yard.job(job_id)["container"]["taskArn"].rpartition("/")[2]
    for root in groups_of(yard.data_path):
        path = Path(root) / task_id / name
        if path.exists():
            return path.read_text().strip()
    return None
