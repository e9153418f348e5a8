"""Why a job waits: the words in which it is told.

Owns the causes, and how a tree of reasons and a change that would help are written down. Refuses to
know how they are found. Texts are whole sentences for people; everything that a program would take
from them stands beside them as numbers.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId
from batchyard.model.status import JobStatus


class Cause(StrEnum):
    """What keeps a job."""

    #: The scheduler has not seen it yet.
    NOT_SEEN_YET = "NOT_SEEN_YET"
    #: Another job must end first.
    DEPENDENCY = "DEPENDENCY"
    #: An array ends with its children.
    CHILDREN = "CHILDREN"
    #: Its queue is being deleted, or starts nothing.
    QUEUE = "QUEUE"
    #: Others of its queue come first.
    TURN = "TURN"
    #: Other queues come first.
    PRIORITY = "PRIORITY"
    #: Nothing: the next round places it.
    NOTHING = "NOTHING"
    #: A compute environment is INVALID, DISABLED or going.
    ENVIRONMENT = "ENVIRONMENT"
    #: It asks for more than could ever be there.
    NEVER_FITS = "NEVER_FITS"
    #: `maxvCpus` is used up by others.
    MAX_VCPUS = "MAX_VCPUS"
    #: Others hold what it needs.
    CAPACITY = "CAPACITY"
    #: An instance for it is on its way.
    INSTANCE_STARTING = "INSTANCE_STARTING"
    #: A consumable resource is short.
    CONSUMABLE = "CONSUMABLE"
    #: The queue's scheduling policy keeps the rest for other shares.
    RESERVED = "RESERVED"
    #: Its quota share has nothing left for it.
    QUOTA = "QUOTA"
    #: It has its place, and its containers are being started.
    STARTING = "STARTING"
    #: It runs.
    RUNNING = "RUNNING"
    #: An attempt of it has failed, and it is tried again.
    RETRY = "RETRY"
    #: It is being stopped.
    STOPPING = "STOPPING"


class Reason(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One reason, and what it consists of."""

    cause: Cause
    text: str
    #: What it is about: an ARN or an id.
    subject: str = ""
    #: Quantities by name, with the unit at its end: `asked_memory_mib`.
    numbers: Mapping[str, int] = {}
    details: tuple["Reason", ...] = ()


class ChangeKind(StrEnum):
    """What would have to be otherwise."""

    ASK_FOR_LESS = "ASK_FOR_LESS"
    RAISE_MAX_VCPUS = "RAISE_MAX_VCPUS"
    ADD_CAPACITY = "ADD_CAPACITY"
    RAISE_QUEUE_PRIORITY = "RAISE_QUEUE_PRIORITY"
    ADD_CONSUMABLE = "ADD_CONSUMABLE"
    ENABLE_ENVIRONMENT = "ENABLE_ENVIRONMENT"
    #: An environment that is INVALID becomes VALID.
    REPAIR_ENVIRONMENT = "REPAIR_ENVIRONMENT"
    LOWER_RESERVATION = "LOWER_RESERVATION"
    #: Instances of an UNMANAGED environment, as large as the job, or its largest node, asks for.
    REGISTER_INSTANCE = "REGISTER_INSTANCE"
    #: A capacity limit of a quota share.
    RAISE_QUOTA = "RAISE_QUOTA"
    #: A capacity limit of a service environment.
    RAISE_CAPACITY_LIMIT = "RAISE_CAPACITY_LIMIT"
    #: `bidPercentage` of an environment of Spot capacity.
    RAISE_BID = "RAISE_BID"
    #: An environment of Spot capacity becomes one of type EC2.
    BUY_ON_DEMAND = "BUY_ON_DEMAND"
    #: Within its share; of an array's child, that of its array.
    RAISE_SCHEDULING_PRIORITY = "RAISE_SCHEDULING_PRIORITY"


class Dimension(StrEnum):
    """Of which amount there is more, or less."""

    VCPUS = "VCPUS"
    MEMORY_MIB = "MEMORY_MIB"
    GPUS = "GPUS"


class Change(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The smallest change of its kind with which the job starts in the next round.

    With one unit less it would not.
    """

    kind: ChangeKind
    #: What changes: the ARN of an environment, queue, quota share or consumable resource, the id of
    #: a host, or of the job itself.
    subject: str
    #: Set for ASK_FOR_LESS and ADD_CAPACITY.
    dimension: Dimension | None = None
    #: Of ASK_FOR_LESS: each node of the job asks for so much less.
    is_per_node: bool = False
    #: By how many units: whole vCPUs (of Fargate quarters of one), MiB, GPUs, steps of priority,
    #: percent. 1 where there is nothing to count.
    by: int = 1
    #: In thousandths of a vCPU per unit, where the unit is vCPUs.
    unit_milli: int = 1000
    #: Of a limit: of which capacity unit.
    unit: str = ""
    #: Of REGISTER_INSTANCE: what each of the instances gives to jobs.
    size: Amount | None = None


class AheadRule(StrEnum):
    """Why a job that was submitted later started before another."""

    #: Its job queue has a higher priority.
    QUEUE_PRIORITY = "QUEUE_PRIORITY"
    #: Job queues of equal priority take turns.
    QUEUES_IN_TURNS = "QUEUES_IN_TURNS"
    #: Its share had used less.
    SHARE = "SHARE"
    #: It has a higher priority within the share.
    SCHEDULING_PRIORITY = "SCHEDULING_PRIORITY"
    #: It was tried again, which comes before what never ran.
    RETRY = "RETRY"
    #: It took room that the other could not have used.
    ROOM_NOT_FOR_IT = "ROOM_NOT_FOR_IT"


class WentAhead(Struct, frozen=True, kw_only=True):
    """A job that went ahead of another."""

    job_id: JobId
    #: When it was placed.
    at_ms: int
    rule: AheadRule


class Explanation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is known of why a job has not ended yet."""

    job_id: JobId
    status: JobStatus
    #: In one line.
    summary: str
    reasons: tuple[Reason, ...] = ()
    #: Each alone would start it.
    changes: tuple[Change, ...] = ()
    #: Where none alone would: these all together.
    together: tuple[Change, ...] = ()
    #: How many jobs of its queue, or of its share, stand before it.
    ahead_count: int | None = None
    #: There are more than `ahead_count`.
    are_more_ahead: bool = False
    #: Jobs that were submitted later and started before it of late, the latest first.
    went_ahead: tuple[WentAhead, ...] = ()
    #: Since when that is known; None: since the job could first have started.
    went_ahead_since_ms: int | None = None
    #: When this was true, in Unix milliseconds.
    at_ms: int
