"""Which tags a task of ECS has: with `propagateTags`, those of the definition and of the job.

The job's win where both have a key. Without it a task has none (reference/jobs.md section 14).
Tags are seen where a task is shown, which is the metadata endpoint.
"""

from batchyard.model.records import JobRecord
from batchyard.store import Connection
from batchyard.store.definitions import read_definition

#: No value can have these bytes, for quotes are escaped.
_PROPAGATES = b'"propagateTags":true'


def read_task_tags(conn: Connection, record: JobRecord) -> dict[str, str]:
    """Read the tags of a job's tasks; nothing is read for a job that propagates none."""
    if _PROPAGATES not in record.job.spec:
        return {}
    definition = read_definition(conn, record.job.definition_arn)
    return {**(definition.tags if definition is not None else {}), **record.job.tags}
