"""The job that a request of ours names.

Decides only that it must be there, for the caller's account and region. Refuses to know what is
asked about it.
"""

from batchyard.api.batch.rules.names import job_id_of
from batchyard.model.ids import JobId, Scope
from batchyard.model.records import JobRecord
from batchyard.model.refusal import client_exception
from batchyard.store import Connection
from batchyard.store.jobs import read_jobs


def read_named_job(conn: Connection, scope: Scope, text: str) -> tuple[JobId, JobRecord]:
    """Read the job, child or node of an id or ARN; the id is its own. Refuses unknown ones."""
    job_id = job_id_of(scope, text)
    found = [] if job_id is None else read_jobs(conn, scope, [job_id])
    if job_id is None or not found:
        raise client_exception(f"Job {text} does not exist")
    return job_id, found[0]
