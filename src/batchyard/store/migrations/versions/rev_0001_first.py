"""The first tables.

Owns what the tables were on the first day. Refuses to follow `schema.py` when that changes later: a
store of that day must go through each step since.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make everything."""
    _make_definition_names()
    _make_definitions()
    _make_environments()
    _make_events()
    _make_jobs()
    _make_leadership()
    _make_log_events()
    _make_log_groups()
    _make_log_positions()
    _make_log_streams()
    _make_log_trash()
    _make_queues()
    _make_wishes()


def _make_definition_names() -> None:
    op.create_table(
        "definition_names",
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("last_revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account", "region", "name", name="pk_definition_names"),
    )


def _make_definitions() -> None:
    op.create_table(
        "definitions",
        sa.Column("seq", _SEQ, nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("arn", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("detail", sa.LargeBinary(), nullable=False),
        sa.Column("tags", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_definitions"),
        sa.UniqueConstraint("arn", name="uq_definitions_arn"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_definitions_name", "definitions", ["account", "region", "name", "seq"], unique=False
    )
    op.create_index(
        "ix_definitions_scope", "definitions", ["account", "region", "status", "seq"], unique=False
    )


def _make_environments() -> None:
    op.create_table(
        "environments",
        sa.Column("seq", _SEQ, nullable=False),
        sa.Column("arn", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("uuid", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("status_reason", sa.String(), nullable=True),
        sa.Column("detail", sa.LargeBinary(), nullable=False),
        sa.Column("tags", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_environments"),
        sa.UniqueConstraint("arn", name="uq_environments_arn"),
        sqlite_autoincrement=True,
    )


def _make_events() -> None:
    op.create_table(
        "events",
        sa.Column("seq", _SEQ, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_events_job",
        "events",
        ["job_id", "seq"],
        unique=False,
        sqlite_where=sa.text("job_id IS NOT NULL"),
        postgresql_where=sa.text("job_id IS NOT NULL"),
    )


def _make_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", _SEQ, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("queue_arn", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("definition_arn", sa.String(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("cpu_milli", sa.BigInteger(), nullable=False),
        sa.Column("memory_mib", sa.BigInteger(), nullable=False),
        sa.Column("gpu_count", sa.BigInteger(), nullable=False),
        sa.Column("attempts_max", sa.Integer(), nullable=False),
        sa.Column("timeout_ms", sa.BigInteger(), nullable=True),
        sa.Column("depends_on", sa.LargeBinary(), nullable=True),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.Column("tags", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("stopped_ms", sa.BigInteger(), nullable=True),
        sa.Column("progress", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_jobs"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_jobs_live",
        "jobs",
        ["status", "seq"],
        unique=False,
        sqlite_where=sa.text("stopped_ms IS NULL"),
        postgresql_where=sa.text("stopped_ms IS NULL"),
    )
    op.create_index("ix_jobs_queue", "jobs", ["queue_arn", "status", "seq"], unique=False)
    op.create_index(
        "ix_jobs_stopped",
        "jobs",
        ["stopped_ms"],
        unique=False,
        sqlite_where=sa.text("stopped_ms IS NOT NULL"),
        postgresql_where=sa.text("stopped_ms IS NOT NULL"),
    )
    op.create_index("uq_jobs_id", "jobs", ["id"], unique=True)


def _make_leadership() -> None:
    op.create_table(
        "leadership",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_leadership"),
    )


def _make_log_events() -> None:
    op.create_table(
        "log_events",
        sa.Column("id", _SEQ, nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("stream_id", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("ingestion_ms", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_log_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_log_events_group", "log_events", ["group_id", "at_ms", "id"], unique=False)
    op.create_index(
        "ix_log_events_stream", "log_events", ["stream_id", "at_ms", "id"], unique=False
    )


def _make_log_groups() -> None:
    op.create_table(
        "log_groups",
        sa.Column("id", _SEQ, nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column(
            "name", sa.String(collation="C").with_variant(sa.String(), "sqlite"), nullable=False
        ),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=True),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.LargeBinary(), nullable=False),
        sa.Column("tags", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_log_groups"),
        sa.UniqueConstraint("account", "region", "name", name="uq_log_groups_account_region_name"),
        sqlite_autoincrement=True,
    )


def _make_log_positions() -> None:
    op.create_table(
        "log_positions",
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", name="pk_log_positions"),
    )


def _make_log_streams() -> None:
    op.create_table(
        "log_streams",
        sa.Column("id", _SEQ, nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "name", sa.String(collation="C").with_variant(sa.String(), "sqlite"), nullable=False
        ),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("first_event_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_event_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ingestion_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_log_streams"),
        sa.UniqueConstraint("group_id", "name", name="uq_log_streams_group_id_name"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_log_streams_last", "log_streams", ["group_id", "last_event_ms", "id"], unique=False
    )


def _make_log_trash() -> None:
    op.create_table(
        "log_trash",
        sa.Column("id", _SEQ, nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("stream_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_log_trash"),
        sqlite_autoincrement=True,
    )


def _make_queues() -> None:
    op.create_table(
        "queues",
        sa.Column("seq", _SEQ, nullable=False),
        sa.Column("arn", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("status_reason", sa.String(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("environment_arns", sa.LargeBinary(), nullable=False),
        sa.Column("detail", sa.LargeBinary(), nullable=False),
        sa.Column("tags", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_queues"),
        sa.UniqueConstraint("arn", name="uq_queues_arn"),
        sqlite_autoincrement=True,
    )


def _make_wishes() -> None:
    op.create_table(
        "wishes",
        sa.Column("seq", _SEQ, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("reason", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_wishes"),
        sqlite_autoincrement=True,
    )
