"""Scheduling policies, and the shares of queues that have one.

Owns both tables, and the columns of jobs that say to which share they belong. Jobs stored before
belong to none: NULL.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns and the tables."""
    op.add_column("jobs", sa.Column("share_identifier", sa.String))
    op.add_column("jobs", sa.Column("scheduling_priority", sa.Integer))
    op.create_table(
        "policies",
        sa.Column("seq", _SEQ, nullable=False),
        sa.Column("arn", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("region", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("settled_revision", sa.Integer, nullable=False),
        sa.Column("detail", sa.LargeBinary, nullable=False),
        sa.Column("tags", sa.LargeBinary),
        sa.PrimaryKeyConstraint("seq", name="pk_policies"),
        sa.UniqueConstraint("arn", name="uq_policies_arn"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "shares",
        sa.Column("queue_arn", sa.String, nullable=False),
        sa.Column("identifier", sa.String, nullable=False),
        sa.Column("live_count", sa.Integer, nullable=False),
        sa.Column("usage", sa.BigInteger, nullable=False),
        sa.Column("counted_ms", sa.BigInteger, nullable=False),
        sa.Column("cpu_milli", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("queue_arn", "identifier", name="pk_shares"),
        sqlite_with_rowid=False,
    )
