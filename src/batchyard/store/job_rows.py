"""Rows of the table `jobs`, to records and back.

Owns which columns make up which record. Refuses to know queries.

Rule: what many queued jobs have alike (a demand, the name of their queue or share, rules, needs) is
one object in memory, for a million of them may be held.
"""

from functools import lru_cache
from sys import intern
from typing import Any

from sqlalchemy import Row

from batchyard.model.amounts import Amount
from batchyard.model.ids import DefinitionArn, JobId, QueueArn, Scope
from batchyard.model.records import JobRecord, NewJob, QueuedJob
from batchyard.store import codec
from batchyard.store.schema import jobs

#: Ours: different demands, rules and needs that are remembered while rows are read.
_SHARED_MAX = 1024

#: What an insert writes, in the order of `row_of`.
INSERTED_COLUMNS = (
    "id",
    "account",
    "region",
    "queue_arn",
    "name",
    "definition_arn",
    "created_ms",
    "cpu_milli",
    "memory_mib",
    "gpu_count",
    "attempts_max",
    "timeout_ms",
    "depends_on",
    "spec",
    "tags",
    "status",
    "exit_rules",
    "array_size",
    "depends_on_each",
    "is_sequential",
    "nodes",
    "needs",
    "share_identifier",
    "scheduling_priority",
    "quota_share",
    "service",
)

#: What `queued_of` reads, in its order.
QUEUED_COLUMNS = (
    jobs.c.seq,
    jobs.c.id,
    jobs.c.queue_arn,
    jobs.c.cpu_milli,
    jobs.c.memory_mib,
    jobs.c.gpu_count,
    jobs.c.attempts_max,
    jobs.c.timeout_ms,
    jobs.c.depends_on,
    jobs.c.created_ms,
    jobs.c.progress,
    jobs.c.exit_rules,
    jobs.c.array_size,
    jobs.c.depends_on_each,
    jobs.c.is_sequential,
    jobs.c.nodes,
    jobs.c.needs,
    jobs.c.share_identifier,
    jobs.c.scheduling_priority,
    jobs.c.quota_share,
    jobs.c.service,
)


def row_of(job: NewJob) -> tuple[str | bytes | int | None, ...]:
    """Give the values of a new job."""
    demand = job.demand
    return (
        job.id,
        job.scope.account,
        job.scope.region,
        job.queue_arn,
        job.name,
        job.definition_arn,
        job.created_ms,
        demand.cpu_milli,
        demand.memory_mib,
        demand.gpu_count,
        job.attempts_max,
        job.timeout_ms,
        codec.encode_job_ids(job.depends_on),
        job.spec,
        codec.encode_tags(job.tags),
        "SUBMITTED",
        codec.encode_exit_rules(job.exit_rules),
        job.array_size,
        codec.encode_job_ids(job.depends_on_each),
        1 if job.is_sequential else None,
        codec.encode_node_plan(job.nodes),
        codec.encode_needs(job.needs),
        job.share_identifier,
        job.scheduling_priority,
        job.quota_share,
        codec.encode_service_terms(job.capacity_use, job.preemption_retries_max),
    )


def queued_of(row: Row[*tuple[Any, ...]]) -> QueuedJob:
    """Read a row of QUEUED_COLUMNS."""
    (
        seq,
        job_id,
        queue_arn,
        cpu,
        memory,
        gpu,
        attempts,
        timeout,
        depends,
        created,
        progress,
        rules,
        array_size,
        depends_each,
        is_sequential,
        nodes,
        needs,
        share_identifier,
        priority,
        quota_share,
        service,
    ) = row
    terms = codec.decode_service_terms(service)
    return QueuedJob(
        seq=seq,
        id=JobId(job_id),
        queue_arn=QueueArn(intern(queue_arn)),
        demand=_demand_of(cpu, memory, gpu),
        attempts_max=attempts,
        timeout_ms=timeout,
        depends_on=codec.decode_job_ids(depends),
        created_ms=created,
        progress=codec.decode_progress(progress),
        exit_rules=() if rules is None else _exit_rules_of(rules),
        array_size=array_size,
        depends_on_each=codec.decode_job_ids(depends_each),
        is_sequential=bool(is_sequential),
        nodes=codec.decode_node_plan(nodes),
        needs=() if needs is None else _needs_of(needs),
        share_identifier=None if share_identifier is None else intern(share_identifier),
        scheduling_priority=priority,
        quota_share=quota_share,
        capacity_use=terms.capacity_use,
        preemption_retries_max=terms.preemption_retries_max,
    )


def record_of(row: Row[*tuple[Any, ...]]) -> JobRecord:
    """Read a whole row."""
    terms = codec.decode_service_terms(row.service)
    return JobRecord(
        seq=row.seq,
        job=NewJob(
            id=JobId(row.id),
            scope=Scope(row.account, row.region),
            queue_arn=QueueArn(row.queue_arn),
            name=row.name,
            definition_arn=DefinitionArn(row.definition_arn),
            created_ms=row.created_ms,
            demand=Amount(
                cpu_milli=row.cpu_milli, memory_mib=row.memory_mib, gpu_count=row.gpu_count
            ),
            attempts_max=row.attempts_max,
            exit_rules=codec.decode_exit_rules(row.exit_rules),
            timeout_ms=row.timeout_ms,
            depends_on=codec.decode_job_ids(row.depends_on),
            spec=bytes(row.spec),
            tags=codec.decode_tags(row.tags),
            array_size=row.array_size,
            depends_on_each=codec.decode_job_ids(row.depends_on_each),
            is_sequential=bool(row.is_sequential),
            nodes=codec.decode_node_plan(row.nodes),
            needs=codec.decode_needs(row.needs),
            share_identifier=row.share_identifier,
            scheduling_priority=row.scheduling_priority,
            quota_share=row.quota_share,
            capacity_use=terms.capacity_use,
            preemption_retries_max=terms.preemption_retries_max,
        ),
        progress=codec.decode_progress(row.progress),
    )


@lru_cache(_SHARED_MAX)
def _demand_of(cpu_milli: int, memory_mib: int, gpu_count: int) -> Amount:
    return Amount(cpu_milli=cpu_milli, memory_mib=memory_mib, gpu_count=gpu_count)


_exit_rules_of = lru_cache(_SHARED_MAX)(codec.decode_exit_rules)
_needs_of = lru_cache(_SHARED_MAX)(codec.decode_needs)
