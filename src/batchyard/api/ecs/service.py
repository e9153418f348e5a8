"""What the handlers of ECS share: where they read, how a cluster is found, what every list obeys.

Decides the refusals that ECS words alike everywhere: all are `InvalidParameterException`.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest

from batchyard.api.batch.paging import read_named_token, write_named_token
from batchyard.core.instance_uses import InstanceUse
from batchyard.model.ids import EnvironmentArn, Scope, TaskId
from batchyard.model.instances import InstanceId
from batchyard.model.limits import ENVIRONMENT_COUNT_MAX
from batchyard.model.records import EnvironmentRecord, Json
from batchyard.model.refusal import Refusal
from batchyard.model.task_facts import TaskFacts, TaskGlance
from batchyard.store import Connection, Store
from batchyard.store.environments import list_environments

_CLUSTER = ":cluster/"
#: What ECS takes where no cluster is named; there is never one of that name here.
_DEFAULT_CLUSTER = "default"
PAGE_SIZE_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Passed to every handler. What is live is asked of the engine of this process."""

    store: Store
    #: Tells of a task that is live, or ended lately; None: neither.
    describe_task: Callable[[TaskId], Awaitable[TaskFacts | None]]
    #: Gives the live tasks of an environment.
    list_tasks: Callable[[EnvironmentArn], Sequence[TaskGlance]]
    #: Gives those that ended lately.
    list_ended_tasks: Callable[[EnvironmentArn], Sequence[TaskGlance]]
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


def invalid_parameter(text: str) -> Refusal:
    """Word ECS's refusal of a member."""
    return Refusal("InvalidParameterException", text)


def refuse_too_many(asked: Sequence[object], member: str) -> None:
    """Refuse a list that is empty or longer than a page, in ECS's form."""
    if not asked:
        raise invalid_parameter(f"{member} cannot be empty.")
    if len(asked) > PAGE_SIZE_MAX:
        raise invalid_parameter(f"{member} can have at most {PAGE_SIZE_MAX} items.")


def refuse_unknown(asked: Iterable[str | None], member: str, known: Collection[str]) -> None:
    """Refuse a value that is none of an enumeration; None is no value."""
    if any(each is not None and each not in known for each in asked):
        raise invalid_parameter(f"{member} must be one of {', '.join(known)}.")


def refuse_members(request: Json, members: Iterable[str]) -> None:
    """Refuse what ECS can do and we cannot."""
    for member in members:
        if request.get(member):
            raise invalid_parameter(f"{member} is not supported yet by batchyard.")


def missing(arn: str) -> Json:
    """Say that something is not there, as ECS does beside what is."""
    return {"arn": arn, "reason": "MISSING"}


@dataclass(frozen=True, slots=True)
class Page:
    """A page that is asked for, of names in their own order: stable while things come and go."""

    size: int
    #: The last name of the page before; empty for the first page.
    after: str
    query: tuple[object, ...]

    def pick(self, names: Iterable[str]) -> tuple[list[str], str | None]:
        """Cut the page out of all names; give it with the token of the next one."""
        found = nsmallest(self.size + 1, (each for each in names if each > self.after))
        return self.close(found)

    def close(self, found: Sequence[str]) -> tuple[list[str], str | None]:
        """Cut the page out of the first names behind `after`, one more than there is room for."""
        page = list(found[: self.size])
        is_last = len(found) <= self.size
        return page, None if is_last else write_named_token(self.query, page[-1], 0)


def page_of(operation: str, request: Json) -> Page:
    """Read which page a request wants. Refuses sizes that ECS refuses, and tokens of others."""
    size: int = request.get("maxResults", PAGE_SIZE_MAX)
    if not 1 <= size <= PAGE_SIZE_MAX:
        raise invalid_parameter(f"maxResults must be between 1 and {PAGE_SIZE_MAX}.")
    rest = {key: each for key, each in request.items() if key not in ("nextToken", "maxResults")}
    query = (operation, *sorted(rest.items()))
    try:
        named = read_named_token(query, request.get("nextToken"))
    except Refusal:
        raise invalid_parameter("Invalid token.") from None
    return Page(size, "" if named is None else named[0], query)
