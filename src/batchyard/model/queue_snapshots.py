"""How queues stand, as the engine writes it down for readers.

Owns what a snapshot holds: more than GetJobQueueSnapshot shows, for the lines that say why jobs
wait are made of it, too. Refuses to know when one is taken (see `engine.snapshots`).
"""

from collections.abc import Mapping

from msgspec import Struct

from batchyard.model.ids import JobId


class FrontJob(Struct, frozen=True, kw_only=True):
    """A RUNNABLE job near the front of its queue."""

    job_id: JobId
    #: When it was first seen at this place of the order.
    since_ms: int
    #: Set exactly if the queue has quota shares.
    quota_share: str | None = None


class QuotaShareSnapshot(Struct, frozen=True, kw_only=True):
    """How a quota share of a queue stands."""

    name: str
    #: The first RUNNABLE job; None: nobody waits.
    front: FrontJob | None
    #: What its jobs use, in thousandths, by capacity unit.
    used: Mapping[str, int]
    #: What keeps the first job, in one sentence.
    front_waits_for: str | None = None


class ShareUse(Struct, frozen=True, kw_only=True):
    """What the jobs of a fair-share identifier hold that have a place."""

    identifier: str
    cpu_milli: int
    #: Of service jobs: how many instances of each type.
    instances: Mapping[str, int] = {}


class QueueSnapshot(Struct, frozen=True, kw_only=True):
    """How a queue stands, for GetJobQueueSnapshot. Written by the engine alone, now and then."""

    #: The first RUNNABLE jobs, in the order in which they should start.
    jobs: tuple[FrontJob, ...] = ()
    #: When `jobs` last changed.
    front_ms: int
    #: vCPUs that its STARTING and RUNNING jobs hold, in thousandths.
    cpu_milli: int = 0
    #: Of service jobs: how many instances of each type.
    instances: Mapping[str, int] = {}
    #: When what they hold last changed.
    used_ms: int
    #: How many fair-share identifiers hold something; None without a policy that has them.
    active_share_count: int | None = None
    #: Those that hold most, the first of them first.
    top_shares: tuple[ShareUse, ...] = ()
    #: By name, in the order of their creation; empty without quota shares.
    quota_shares: tuple[QuotaShareSnapshot, ...] = ()
    #: When one of the first jobs in them last changed.
    quota_front_ms: int = 0
    #: What keeps the first of the jobs, in one sentence; None: there is none, or nothing does.
    head_waits_for: str | None = None
