"""The last placements as the store knows them: for an engine that begins, and for one that waits.

Owns the way from the story of jobs to what `core.went_ahead` remembers. Refuses to know by which
rule anybody went ahead. Bounded: the last events alone are looked at.
"""

from msgspec.structs import replace

from batchyard.core import events as e
from batchyard.core.explaining import explain
from batchyard.core.state import State
from batchyard.core.went_ahead import PLACEMENTS_KEPT_MAX, Placed, Placements
from batchyard.engine.facts import decode_event
from batchyard.model.explanation import Explanation
from batchyard.model.ids import JobId, is_part_id, whole_id_of
from batchyard.model.status import JobStatus
from batchyard.store import Connection
from batchyard.store.events import newest_seq, read_last_time, read_latest_of_kind
from batchyard.store.jobs import read_specs

#: Ours: a placed job has about five events, so that is what PLACEMENTS_KEPT_MAX of them take.
_EVENTS_READ_MAX = 20_000
_BECAME_RUNNABLE = (e.JobBecameRunnable.__name__, e.JobRetried.__name__)


def read_placements(conn: Connection) -> Placements:
    """Read the last placements; those of jobs that are not kept any more are left out."""
    stored = read_latest_of_kind(
        conn,
        e.AttemptPlaced.__name__,
        count_max=PLACEMENTS_KEPT_MAX,
        events_max=_EVENTS_READ_MAX,
    )
    happened = [
        event for each in stored if isinstance(event := decode_event(each), e.AttemptPlaced)
    ]
    wholes = read_specs(conn, list(dict.fromkeys(whole_id_of(each.job_id) for each in happened)))
    kept: list[Placed] = []
    for event in happened:
        record = wholes.get(whole_id_of(event.job_id))
        if record is not None:
            job = record.job
            kept.append(
                Placed(
                    job_id=event.job_id,
                    seq=record.seq,
                    queue_arn=job.queue_arn,
                    environment_arn=event.environment_arn,
                    at_ms=event.at_ms,
                    share=job.quota_share or job.share_identifier,
                    priority=job.scheduling_priority or 0,
                    is_retry=event.number > 1,
                )
            )
    is_complete = len(stored) < PLACEMENTS_KEPT_MAX and newest_seq(conn) <= _EVENTS_READ_MAX
    return Placements(kept, is_complete=is_complete)


def read_runnable_since(conn: Connection, job_id: JobId) -> int | None:
    """Tell since when a RUNNABLE job or child could have started; None: its story does not say."""
    own = read_last_time(conn, job_id, _BECAME_RUNNABLE)
    if own is None and is_part_id(job_id):
        own = read_last_time(conn, whole_id_of(job_id), [e.ChildrenSpawned.__name__])
    return own or read_last_time(conn, whole_id_of(job_id), [e.JobAccepted.__name__])


def explain_in(
    state: State, placements: Placements, job_id: JobId, now_ms: int
) -> Explanation | None:
    """Explain a job of a state, with those that went ahead of it."""
    found = explain(state, job_id, now_ms)
    job = state.find(job_id)
    if found is None or job is None or found.status is not JobStatus.RUNNABLE:
        return found
    return replace(
        found,
        went_ahead=placements.ahead_of(state, job),
        went_ahead_since_ms=placements.since_ms,
    )
