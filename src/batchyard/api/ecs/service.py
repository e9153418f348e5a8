"""What the handlers of ECS share: where they read, and how a cluster is found."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from batchyard.core.instance_uses import InstanceUse
from batchyard.model.ids import EnvironmentArn, Scope, TaskId
from batchyard.model.instances import InstanceId
from batchyard.model.limits import ENVIRONMENT_COUNT_MAX
from batchyard.model.records import EnvironmentRecord, Json
from batchyard.model.refusal import Refusal
from batchyard.model.task_facts import TaskFacts
from batchyard.store import Connection, Store
from batchyard.store.environments import list_environments

_CLUSTER = ":cluster/"
#: What ECS takes where no cluster is named; there is never one of that name here.
_DEFAULT_CLUSTER = "default"
PAGE_SIZE_MAX = 100


@dataclass(frozen=True, slots=True)
class Service:
    """Passed to every handler. What is live is asked of the engine of this process."""

    store: Store
    #: Tells of a live task; None: it is not live.
    describe_task: Callable[[TaskId], Awaitable[TaskFacts | None]]
    #: Names the live tasks of an environment, in the order in which they were placed.
    list_tasks: Callable[[EnvironmentArn], Sequence[TaskId]]
    #: Tells what is on a live instance.
    find_use: Callable[[InstanceId], InstanceUse | None]


def cluster_arn(record: EnvironmentRecord) -> str | None:
    """Give the ARN of an environment's cluster; None: it has none (EKS)."""
    found: str | None = record.detail.get("ecsClusterArn")
    return found


def read_clusters(conn: Connection, scope: Scope) -> list[EnvironmentRecord]:
    """Read the environments that have a cluster, in the order of their creation."""
    found = list_environments(conn, scope, 0, ENVIRONMENT_COUNT_MAX)
    return [record for record in found if cluster_arn(record) is not None]


def find_cluster(conn: Connection, scope: Scope, request: Json) -> EnvironmentRecord:
    """Find the environment behind `cluster`, a name or an ARN. Refuses unknown ones."""
    asked: str = request.get("cluster") or _DEFAULT_CLUSTER
    for record in read_clusters(conn, scope):
        arn = cluster_arn(record) or ""
        if asked in (arn, arn.partition(_CLUSTER)[2]):
            return record
    raise Refusal("ClusterNotFoundException", "Cluster not found.")


def refuse_too_many(asked: Sequence[object], member: str) -> None:
    """Refuse a list that is empty or longer than a page, in ECS's form."""
    if not asked:
        raise Refusal("InvalidParameterException", f"{member} cannot be empty.")
    if len(asked) > PAGE_SIZE_MAX:
        text = f"{member} can have at most {PAGE_SIZE_MAX} items."
        raise Refusal("InvalidParameterException", text)


def missing(arn: str) -> Json:
    """Say that something is not there, as ECS does beside what is."""
    return {"arn": arn, "reason": "MISSING"}


def page_of(items: Sequence[str], request: Json) -> tuple[list[str], str | None]:
    """Cut a page out of names in a fixed order; the token is the last name of the page."""
    size = min(request.get("maxResults") or PAGE_SIZE_MAX, PAGE_SIZE_MAX)
    after: str | None = request.get("nextToken")
    if after is not None and after not in items:
        raise Refusal("InvalidParameterException", "Invalid token.")
    start = 0 if after is None else items.index(after) + 1
    page = list(items[start : start + size])
    return page, page[-1] if start + size < len(items) else None
