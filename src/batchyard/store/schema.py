"""The tables, the same on SQLite and PostgreSQL.

Owns the shape of everything stored and the price of each index; refuses to know who reads or
writes. `migrations/` leads every older store to this shape, and a test compares the two.

Rules:
- Sequence numbers rise and are never used twice, also after rows were deleted (AUTOINCREMENT costs
  nothing measurable). On PostgreSQL they may have gaps, and may commit out of order.
- JSON and log messages are bytes: any character is kept on both databases (PostgreSQL's text
  refuses NUL), and the wire can send them on without decoding.
- Times are Unix milliseconds.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    literal_column,
)

#: SQLite makes only a plain INTEGER primary key an alias of the row's own number.
_Seq = BigInteger().with_variant(Integer, "sqlite")
#: Ordered by code point, whatever the locale of a PostgreSQL cluster, as SQLite orders.
_Name = String(collation="C").with_variant(String(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("id", String, nullable=False),
    Column("account", String, nullable=False),
    Column("region", String, nullable=False),
    Column("queue_arn", String, nullable=False),
    Column("name", String, nullable=False),
    Column("definition_arn", String, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("cpu_milli", BigInteger, nullable=False),
    Column("memory_mib", BigInteger, nullable=False),
    Column("gpu_count", BigInteger, nullable=False),
    Column("attempts_max", Integer, nullable=False),
    Column("timeout_ms", BigInteger),
    #: JSON array of job ids; NULL for none.
    Column("depends_on", LargeBinary),
    Column("spec", LargeBinary, nullable=False),
    #: JSON object; NULL for none.
    Column("tags", LargeBinary),
    #: These two repeat what `progress` says, for the indexes.
    Column("status", String, nullable=False),
    Column("stopped_ms", BigInteger),
    #: JSON of JobProgress; NULL until the engine first wrote it.
    Column("progress", LargeBinary),
    #: JSON array of ExitRule; NULL for none.
    Column("exit_rules", LargeBinary),
    #: NULL: it is no array.
    Column("array_size", Integer),
    #: JSON array of ids of arrays, child by child; NULL for none.
    Column("depends_on_each", LargeBinary),
    #: 1: child after child; NULL: not so.
    Column("is_sequential", Integer),
    #: JSON of NodePlan; NULL: it is no multi-node job.
    Column("nodes", LargeBinary),
    #: JSON array of ConsumableNeed; NULL for none.
    Column("needs", LargeBinary),
    #: Both NULL: its queue has no scheduling policy.
    Column("share_identifier", String),
    Column("scheduling_priority", Integer),
    #: Both of service jobs alone; `service` is JSON of ServiceTerms.
    Column("quota_share", String),
    Column("service", LargeBinary),
    sqlite_autoincrement=True,
)

# What each index of `jobs` costs. An insert touches four b-trees (7 us of CPU, and as much again
# for writing the pages in the COMMIT): the table and `live` grow at their ends, `queue` at one
# place per queue and status, `id` at a random place because job ids are random: it is the dearest.
# A change of status moves one entry in `queue` and one in `live`; the table's row is rewritten in
# place; `id` is not touched.
Index("uq_jobs_id", jobs.c.id, unique=True)
# ListJobs: one range per queue and status.
Index("ix_jobs_queue", jobs.c.queue_arn, jobs.c.status, jobs.c.seq)
# What the engine takes (SUBMITTED) and what it loads at its start. A job leaves it when it ends, so
# its size follows the live jobs, not the kept ones.
Index(
    "ix_jobs_live",
    jobs.c.status,
    jobs.c.seq,
    sqlite_where=jobs.c.stopped_ms.is_(None),
    postgresql_where=jobs.c.stopped_ms.is_(None),
)
# Retention. A job enters it when it ends: one insert at the end of the tree per job's life.
Index(
    "ix_jobs_stopped",
    jobs.c.stopped_ms,
    sqlite_where=jobs.c.stopped_ms.is_not(None),
    postgresql_where=jobs.c.stopped_ms.is_not(None),
)

#: Children of arrays and nodes of multi-node jobs, as soon as something happened to them alone. An
#: array of 10,000 that waits has none. What they share with their parent stands there.
children = Table(
    "children",
    metadata,
    Column("parent_id", String, primary_key=True),
    Column("child_index", Integer, primary_key=True, autoincrement=False),
    #: These two repeat what `progress` says, for the indexes.
    Column("status", String, nullable=False),
    Column("stopped_ms", BigInteger),
    #: JSON of JobProgress.
    Column("progress", LargeBinary, nullable=False),
    #: Found by the parent only: the row lies in the key's own tree.
    sqlite_with_rowid=False,
)
# What the engine loads at its start. As with jobs, its size follows what is live.
Index(
    "ix_children_live",
    children.c.status,
    children.c.parent_id,
    sqlite_where=children.c.stopped_ms.is_(None),
    postgresql_where=children.c.stopped_ms.is_(None),
)

wishes = Table(
    "wishes",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("kind", String, nullable=False),
    Column("job_id", String, nullable=False),
    #: UTF-8.
    Column("reason", LargeBinary, nullable=False),
    #: Of a wish for one; else NULL.
    Column("priority", Integer),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("job_id", String),
    Column("kind", String, nullable=False),
    Column("version", Integer, nullable=False),
    #: JSON object.
    Column("body", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
# A job's story, and its deletion with the job. Random places, like `uq_jobs_id`, once per event.
Index(
    "ix_events_job",
    events.c.job_id,
    events.c.seq,
    sqlite_where=events.c.job_id.is_not(None),
    postgresql_where=events.c.job_id.is_not(None),
)

#: What engines decided from, turn by turn; see `engine.recording`. One insert, at the end of the
#: tree, for each turn in which something became true.
recordings = Table(
    "recordings",
    metadata,
    Column("seq", _Seq, primary_key=True),
    #: Of the engine that wrote it, see `leadership`.
    Column("epoch", BigInteger, nullable=False),
    #: Which of the spans of that engine, counted from 1.
    Column("part", Integer, nullable=False, server_default="1"),
    Column("kind", String, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    #: Of the events that were written with it.
    Column("digest", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
# One entry for each span.
Index(
    "ix_recordings_beginnings",
    recordings.c.seq,
    sqlite_where=recordings.c.kind == literal_column("'BEGINNING'"),
    postgresql_where=recordings.c.kind == literal_column("'BEGINNING'"),
)

environments = Table(
    "environments",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("arn", String, nullable=False),
    Column("account", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", String, nullable=False),
    Column("uuid", String, nullable=False),
    Column("state", String, nullable=False),
    Column("status", String, nullable=False),
    Column("status_reason", String),
    Column("detail", LargeBinary, nullable=False),
    Column("tags", LargeBinary),
    #: These two are facts, of the engine.
    Column("cpu_milli_launched", BigInteger, nullable=False, server_default="0"),
    Column("launch_count", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("arn"),
    sqlite_autoincrement=True,
)

service_environments = Table(
    "service_environments",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("arn", String, nullable=False),
    Column("account", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", String, nullable=False),
    Column("state", String, nullable=False),
    Column("status", String, nullable=False),
    Column("detail", LargeBinary, nullable=False),
    Column("tags", LargeBinary),
    UniqueConstraint("arn"),
    sqlite_autoincrement=True,
)

#: SubmitServiceJob requests with a clientToken, so that a repeated one is found.
service_job_requests = Table(
    "service_job_requests",
    metadata,
    #: Of all that makes two requests the same one.
    Column("digest", LargeBinary, primary_key=True),
    Column("job_id", String, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)
Index("ix_service_job_requests_at_ms", service_job_requests.c.at_ms)

#: Slices of hosts that environments have launched. Ended ones stay as long as finished jobs do.
instances = Table(
    "instances",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("id", String, nullable=False),
    Column("environment_arn", String, nullable=False),
    #: NULL: it is there.
    Column("terminated_ms", BigInteger),
    #: JSON of InstanceRecord.
    Column("record", LargeBinary, nullable=False),
    UniqueConstraint("id"),
    sqlite_autoincrement=True,
)
# What the engine loads, and what is listed of an environment.
Index(
    "ix_instances_live",
    instances.c.environment_arn,
    instances.c.seq,
    sqlite_where=instances.c.terminated_ms.is_(None),
    postgresql_where=instances.c.terminated_ms.is_(None),
)
Index(
    "ix_instances_terminated",
    instances.c.terminated_ms,
    sqlite_where=instances.c.terminated_ms.is_not(None),
    postgresql_where=instances.c.terminated_ms.is_not(None),
)

#: What operators want registered, and taken back; answered ones stay for a while.
instance_wishes = Table(
    "instance_wishes",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    #: NULL: not settled.
    Column("settled_ms", BigInteger),
    #: JSON of InstanceWish without its seq.
    Column("wish", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
Index(
    "ix_instance_wishes_waiting",
    instance_wishes.c.seq,
    sqlite_where=instance_wishes.c.settled_ms.is_(None),
    postgresql_where=instance_wishes.c.settled_ms.is_(None),
)

queues = Table(
    "queues",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("arn", String, nullable=False),
    Column("account", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", String, nullable=False),
    Column("state", String, nullable=False),
    Column("status", String, nullable=False),
    Column("status_reason", String),
    Column("priority", Integer, nullable=False),
    #: JSON array, in the order in which they are tried.
    Column("environment_arns", LargeBinary, nullable=False),
    Column("detail", LargeBinary, nullable=False),
    Column("tags", LargeBinary),
    UniqueConstraint("arn"),
    sqlite_autoincrement=True,
)

#: Quota shares of queues.
quota_shares = Table(
    "quota_shares",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("arn", String, nullable=False),
    Column("queue_arn", String, nullable=False),
    Column("name", String, nullable=False),
    Column("state", String, nullable=False),
    Column("status", String, nullable=False),
    Column("detail", LargeBinary, nullable=False),
    Column("tags", LargeBinary),
    UniqueConstraint("arn"),
    sqlite_autoincrement=True,
)

#: How each queue stood when the engine last looked; see QueueSnapshot.
queue_snapshots = Table(
    "queue_snapshots",
    metadata,
    Column("queue_arn", String, primary_key=True),
    #: JSON of QueueSnapshot.
    Column("snapshot", LargeBinary, nullable=False),
)

#: The first forecast that was made of each job, and when that started; see `store.forecasts`.
forecasts = Table(
    "forecasts",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("job_id", String, nullable=False),
    Column("account", String, nullable=False),
    Column("region", String, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("p10_ms", BigInteger, nullable=False),
    Column("p50_ms", BigInteger, nullable=False),
    Column("p90_ms", BigInteger, nullable=False),
    #: NULL: not yet, as far as was looked.
    Column("started_ms", BigInteger),
    #: NULL: it was made before queues were written down.
    Column("queue_arn", String),
    #: By how much these ends had been moved from the middle, as Stretch has it.
    Column("low_permille", Integer, nullable=False, server_default="1000"),
    Column("high_permille", Integer, nullable=False, server_default="1000"),
    UniqueConstraint("job_id"),
    sqlite_autoincrement=True,
)
# What the next forecast is moved by: the latest of a queue, or of an account and region.
Index("ix_forecasts_queue", forecasts.c.queue_arn, forecasts.c.seq)
Index("ix_forecasts_scope", forecasts.c.account, forecasts.c.region, forecasts.c.seq)

consumables = Table(
    "consumables",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("arn", String, nullable=False),
    Column("account", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", String, nullable=False),
    Column("is_replenishable", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    #: Written by the API: see ConsumableRecord.
    Column("given", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    #: 1: deleted, until the engine takes the row away; else NULL.
    Column("is_deleted", Integer),
    Column("tags", LargeBinary),
    #: These three are written by the engine. `seen_version`: what it has settled.
    Column("held", BigInteger, nullable=False),
    Column("used_up", BigInteger, nullable=False),
    Column("seen_version", BigInteger, nullable=False),
    UniqueConstraint("arn"),
    sqlite_autoincrement=True,
)
# ListConsumableResources: there may be 50,000.
Index(
    "ix_consumables_scope",
    consumables.c.account,
    consumables.c.region,
    consumables.c.seq,
)
# What the engine has to look at: empty nearly always.
Index(
    "ix_consumables_unseen",
    consumables.c.seq,
    sqlite_where=consumables.c.version > consumables.c.seen_version,
    postgresql_where=consumables.c.version > consumables.c.seen_version,
)

#: Which jobs need a consumable resource: for ListJobsByConsumableResource. A job without needs, the
#: usual one, has no row.
consumable_jobs = Table(
    "consumable_jobs",
    metadata,
    Column("consumable_arn", String, primary_key=True),
    Column("created_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("job_id", String, primary_key=True),
    sqlite_with_rowid=False,
)

#: UpdateConsumableResource requests with a clientToken, so that a repeated one changes nothing.
consumable_updates = Table(
    "consumable_updates",
    metadata,
    #: Of all that makes two requests the same one.
    Column("digest", LargeBinary, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
)
Index("ix_consumable_updates_at", consumable_updates.c.at_ms)

policies = Table(
    "policies",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("arn", String, nullable=False),
    Column("account", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", String, nullable=False),
    Column("revision", Integer, nullable=False),
    #: The revision that the engine goes by; those that no queue ever used count as settled.
    Column("settled_revision", Integer, nullable=False),
    Column("detail", LargeBinary, nullable=False),
    Column("tags", LargeBinary),
    UniqueConstraint("arn"),
    sqlite_autoincrement=True,
)

#: The shares of queues with a scheduling policy. One row a share, written with each change of what
#: it holds; its queue has at most some hundred.
shares = Table(
    "shares",
    metadata,
    Column("queue_arn", String, primary_key=True),
    Column("identifier", String, primary_key=True),
    Column("live_count", Integer, nullable=False),
    #: See `scheduler.fair_share`.
    Column("usage", BigInteger, nullable=False),
    Column("counted_ms", BigInteger, nullable=False),
    Column("cpu_milli", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

definitions = Table(
    "definitions",
    metadata,
    Column("seq", _Seq, primary_key=True),
    Column("account", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("arn", String, nullable=False),
    Column("status", String, nullable=False),
    Column("detail", LargeBinary, nullable=False),
    Column("tags", LargeBinary),
    UniqueConstraint("arn"),
    sqlite_autoincrement=True,
)
# DescribeJobDefinitions, newest first: of one name, and of all.
Index(
    "ix_definitions_name",
    definitions.c.account,
    definitions.c.region,
    definitions.c.name,
    definitions.c.seq,
)
Index(
    "ix_definitions_scope",
    definitions.c.account,
    definitions.c.region,
    definitions.c.status,
    definitions.c.seq,
)

#: The last revision given to a name. Rows stay for ever, so that no revision is used twice.
definition_names = Table(
    "definition_names",
    metadata,
    Column("account", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("last_revision", Integer, nullable=False),
)

#: One row: which engine is in charge. The number rises with each change.
leadership = Table(
    "leadership",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    #: JSON object of Amounts by host id: the machines of the engine in charge; NULL for none.
    Column("hosts", LargeBinary),
)

log_groups = Table(
    "log_groups",
    metadata,
    Column("id", _Seq, primary_key=True),
    Column("account", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", _Name, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    #: NULL: events never expire.
    Column("retention_days", Integer),
    Column("stored_bytes", BigInteger, nullable=False),
    #: JSON object of what CreateLogGroup was given besides: kmsKeyId, logGroupClass.
    Column("detail", LargeBinary, nullable=False),
    Column("tags", LargeBinary),
    UniqueConstraint("account", "region", "name"),
    sqlite_autoincrement=True,
)

log_streams = Table(
    "log_streams",
    metadata,
    Column("id", _Seq, primary_key=True),
    Column("group_id", BigInteger, nullable=False),
    Column("name", _Name, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    #: These three are 0 while the stream never had an event.
    Column("first_event_ms", BigInteger, nullable=False),
    Column("last_event_ms", BigInteger, nullable=False),
    Column("last_ingestion_ms", BigInteger, nullable=False),
    UniqueConstraint("group_id", "name"),
    sqlite_autoincrement=True,
)
# DescribeLogStreams by LastEventTime. Each append of lines moves one entry.
Index(
    "ix_log_streams_last",
    log_streams.c.group_id,
    log_streams.c.last_event_ms,
    log_streams.c.id,
)

#: Deleted groups and streams whose events are still to be swept; `stream_id` NULL: a whole group.
log_trash = Table(
    "log_trash",
    metadata,
    Column("id", _Seq, primary_key=True),
    Column("group_id", BigInteger, nullable=False),
    Column("stream_id", BigInteger),
    sqlite_autoincrement=True,
)

# See log_events.py for what a line costs.
log_events = Table(
    "log_events",
    metadata,
    Column("id", _Seq, primary_key=True),
    Column("group_id", BigInteger, nullable=False),
    Column("stream_id", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("ingestion_ms", BigInteger, nullable=False),
    #: UTF-8.
    Column("message", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_log_events_stream", log_events.c.stream_id, log_events.c.at_ms, log_events.c.id)
Index("ix_log_events_group", log_events.c.group_id, log_events.c.at_ms, log_events.c.id)

#: How far the output of a task's container is stored: kept beside its lines, so that each is stored
#: once. The stream is the container's; empty in rows from before tasks had several containers.
output_positions = Table(
    "output_positions",
    metadata,
    Column("task_id", String, primary_key=True),
    Column("stream", String, primary_key=True),
    Column("position", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
