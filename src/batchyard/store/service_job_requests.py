"""SubmitServiceJob requests with a clientToken, for as long as a repeated one counts as the same.

Owns the table `service_job_requests`. Refuses to know what makes two requests the same one.
"""

from sqlalchemy import Connection, delete, select

from batchyard.model.ids import JobId
from batchyard.store.schema import service_job_requests
from batchyard.store.statements import insert_new


def note_request(
    conn: Connection, digest: bytes, job_id: JobId, *, at_ms: int, forget_before_ms: int
) -> JobId | None:
    """Keep a request, and forget old ones. Gives the job of the same request, if there was one."""
    conn.execute(
        delete(service_job_requests).where(service_job_requests.c.at_ms < forget_before_ms)
    )
    values = {"digest": digest, "job_id": job_id, "at_ms": at_ms}
    if insert_new(conn, service_job_requests, values):
        return None
    query = select(service_job_requests.c.job_id).where(service_job_requests.c.digest == digest)
    return JobId(conn.scalars(query).one())
