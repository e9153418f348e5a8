"""CancelJob and TerminateJob: a durable wish, answered before its effect (reference/jobs.md 8).

Both answer 200 for ids that mean nothing and for jobs that are over: clients clean up without
looking. A single node of a multi-node job cannot be stopped: that too is answered, and ignored.
"""

from batchyard.api.batch.rules.names import job_id_of
from batchyard.api.batch.service import Service
from batchyard.model.limits import REASON_LENGTH_MAX
from batchyard.model.records import Json, WishKind
from batchyard.model.refusal import client_exception
from batchyard.store import Connection
from batchyard.store.jobs import read_jobs
from batchyard.store.wishes import add_wish
from batchyard.wire.call import Call

_NODE_MARK = "#"


async def cancel_job(service: Service, call: Call, request: Json) -> Json:
    """Ask that a job which has not started yet never starts."""
    return await _wish(service, call, request, WishKind.CANCEL)


async def terminate_job(service: Service, call: Call, request: Json) -> Json:
    """Ask that a job ends, whatever it is doing."""
    return await _wish(service, call, request, WishKind.TERMINATE)


async def _wish(service: Service, call: Call, request: Json, kind: WishKind) -> Json:
    text: str = request["jobId"]
    reason: str = request["reason"]
    if not text:
        raise client_exception("jobId must be provided")
    if not reason:
        raise client_exception("reason must be provided")
    if len(reason) > REASON_LENGTH_MAX:
        raise client_exception(f"reason must be at most {REASON_LENGTH_MAX} characters long.")
    job_id = job_id_of(call.scope, text)
    if job_id is None or _NODE_MARK in job_id:
        return {}

    def add(conn: Connection) -> None:
        records = read_jobs(conn, call.scope, [job_id])
        if records and not records[0].progress.status.is_terminal:
            add_wish(conn, kind, job_id, reason)
            service.store.note_wish()

    await service.store.write(add)
    return {}
