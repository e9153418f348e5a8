"""What the process that looks ahead is asked, and what it answers.

Owns the words between the server and that process. Refuses to know how either does its part.
"""

from msgspec import Struct

from batchyard.engine.catalogue import LaunchTimes
from batchyard.model.amounts import Amount
from batchyard.model.forecast import Future
from batchyard.model.ids import HostId, JobId, QueueArn
from batchyard.model.what_if import Changes, Comparison
from batchyard.sim.looking import Limits


class Offer(Struct, frozen=True, kw_only=True):
    """A machine, and what of it may be given to jobs."""

    host_id: HostId
    capacity: Amount


class Task(Struct, frozen=True, kw_only=True):
    """What to look for in the future of the yard whose store is at `url`."""

    url: str
    offers: tuple[Offer, ...]
    launch_times: LaunchTimes
    now_ms: int
    seed: int = 0
    limits: Limits = Limits()
    #: What the ARNs of the caller's account and region begin with.
    place: str
    #: One of the three.
    job_id: JobId | None = None
    queue_arn: QueueArn | None = None
    changes: Changes | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """What was found."""

    future: Future | None = None
    comparison: Comparison | None = None
    #: What of the question means nothing; nothing else is set then.
    refusal: str | None = None
