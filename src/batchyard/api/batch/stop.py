"""CancelJob, TerminateJob, TerminateServiceJob and their bulk forms: durable wishes, answered
before their effect.

Decides by reference/jobs.md section 8, and by the model for the bulk forms. All answer 200 for ids
that mean nothing and for jobs that are over: clients clean up without looking. A single node of a
multi-node job cannot be stopped: the single calls answer and ignore it, the bulk ones say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from batchyard.api.batch.rules.names import job_id_of, service_job_id_of
from batchyard.api.batch.service import Service
from batchyard.model.ids import JobId
from batchyard.model.limits import BULK_STOP_JOBS_MAX, REASON_LENGTH_MAX
from batchyard.model.records import Json, WishKind
from batchyard.model.refusal import client_exception
from batchyard.store import Connection
from batchyard.store.jobs import read_jobs
from batchyard.store.wishes import add_wish
from batchyard.wire.call import Call

_NODE_MARK = "#"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wished:
    """What is asked of jobs, and of which kind of them."""

    kind: WishKind
    is_service: bool = False


_CANCEL = _Wished(kind=WishKind.CANCEL)
_TERMINATE = _Wished(kind=WishKind.TERMINATE)
_TERMINATE_SERVICE = _Wished(kind=WishKind.TERMINATE, is_service=True)


async def cancel_job(service: Service, call: Call, request: Json) -> Json:
    """Ask that a job which has not started yet never starts."""
    return await _wish_one(service, call, request, _CANCEL)


async def cancel_jobs(service: Service, call: Call, request: Json) -> Json:
    """Ask it of up to 50 jobs; the answer tells of each."""
    return await _wish_many(service, call, request, _CANCEL)


async def terminate_job(service: Service, call: Call, request: Json) -> Json:
    """Ask that a job ends, whatever it is doing."""
    return await _wish_one(service, call, request, _TERMINATE)


async def terminate_jobs(service: Service, call: Call, request: Json) -> Json:
    """Ask it of up to 50 jobs; the answer tells of each."""
    return await _wish_many(service, call, request, _TERMINATE)


async def terminate_service_job(service: Service, call: Call, request: Json) -> Json:
    """Ask that a service job ends, whatever it is doing."""
    text: str = request["jobId"]
    if not text:
        raise client_exception("jobId must be provided")
    reason = _reason_of(request)
    job_id = service_job_id_of(call.scope, text)
    if job_id is not None:
        await _add_wishes(service, call, _TERMINATE_SERVICE, [job_id], reason)
    return {}


async def terminate_service_jobs(service: Service, call: Call, request: Json) -> Json:
    """Ask it of up to 50 service jobs; the answer tells of each."""
    texts = _texts_of(request)
    reason = _reason_of(request)
    job_id_by_text: dict[str, JobId] = {}
    errors: list[Json] = []
    for text in dict.fromkeys(texts):
        job_id = service_job_id_of(call.scope, text)
        if job_id is None:
            errors.append(_error(text, "ValidationException", f"Job ID {text} is not valid."))
        else:
            job_id_by_text[text] = job_id
    ids = list(job_id_by_text.values())
    await _add_wishes(service, call, _TERMINATE_SERVICE, ids, reason)
    return {"successful": list(job_id_by_text), "errors": errors}


async def _wish_one(service: Service, call: Call, request: Json, wished: _Wished) -> Json:
    text: str = request["jobId"]
    if not text:
        raise client_exception("jobId must be provided")
    reason = _reason_of(request)
    job_id = job_id_of(call.scope, text)
    if job_id is not None and _NODE_MARK not in job_id:
        await _add_wishes(service, call, wished, [job_id], reason)
    return {}


async def _wish_many(service: Service, call: Call, request: Json, wished: _Wished) -> Json:
    """Wish for each job that is named well, all in one commit; one named twice counts once."""
    texts = _texts_of(request)
    reason = _reason_of(request)
    job_id_by_text: dict[str, JobId] = {}
    errors: list[Json] = []
    for text in dict.fromkeys(texts):
        job_id = job_id_of(call.scope, text)
        if job_id is None:
            errors.append(_error(text, "ValidationException", f"Job ID {text} is not valid."))
        elif _NODE_MARK in job_id:
            message = "A single node of a multi-node parallel job cannot be stopped."
            errors.append(_error(text, "ClientException", message))
        else:
            job_id_by_text[text] = job_id
    await _add_wishes(service, call, wished, list(job_id_by_text.values()), reason)
    return {"successful": list(job_id_by_text), "errors": errors}


def _texts_of(request: Json) -> Sequence[str]:
    texts: Sequence[str] = request["jobs"]
    if not texts:
        raise client_exception("jobs must be provided")
    if len(texts) > BULK_STOP_JOBS_MAX:
        raise client_exception(f"jobs must not have more than {BULK_STOP_JOBS_MAX} items.")
    return texts


def _reason_of(request: Json) -> str:
    reason: str = request["reason"]
    if not reason:
        raise client_exception("reason must be provided")
    if len(reason) > REASON_LENGTH_MAX:
        raise client_exception(f"reason must be at most {REASON_LENGTH_MAX} characters long.")
    return reason


def _error(text: str, code: str, message: str) -> Json:
    return {"job": text, "code": code, "message": message}


async def _add_wishes(
    service: Service, call: Call, wished: _Wished, ids: Sequence[JobId], reason: str
) -> None:
    """Keep a wish about each of the jobs that exists, is of the kind meant, and is not over."""

    def add(conn: Connection) -> None:
        for record in read_jobs(conn, call.scope, ids):
            is_service = bool(record.job.capacity_use)
            if is_service is wished.is_service and not record.progress.status.is_terminal:
                add_wish(conn, wished.kind, record.job.id, reason)
                service.store.note_wish()

    if ids:
        await service.store.write(add)
