"""Instances of compute environments.

Owns the table, and what environments count of it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the columns and the table."""
    for name in ("cpu_milli_launched", "launch_count"):
        column = sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        op.add_column("environments", column)
    instances = op.create_table(
        "instances",
        sa.Column("seq", _SEQ, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("environment_arn", sa.String, nullable=False),
        sa.Column("terminated_ms", sa.BigInteger),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_instances"),
        sa.UniqueConstraint("id", name="uq_instances_id"),
        sqlite_autoincrement=True,
    )
    is_live = instances.c.terminated_ms.is_(None)
    is_gone = instances.c.terminated_ms.is_not(None)
    op.create_index(
        "ix_instances_live",
        "instances",
        ["environment_arn", "seq"],
        sqlite_where=is_live,
        postgresql_where=is_live,
    )
    op.create_index(
        "ix_instances_terminated",
        "instances",
        ["terminated_ms"],
        sqlite_where=is_gone,
        postgresql_where=is_gone,
    )
