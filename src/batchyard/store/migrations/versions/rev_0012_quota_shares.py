"""Quota shares of queues.

Owns the table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0010"

_SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "quota_shares",
        sa.Column("seq", _SEQ, nullable=False),
        sa.Column("arn", sa.String, nullable=False),
        sa.Column("queue_arn", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("detail", sa.LargeBinary, nullable=False),
        sa.Column("tags", sa.LargeBinary),
        sa.PrimaryKeyConstraint("seq", name="pk_quota_shares"),
        sa.UniqueConstraint("arn", name="uq_quota_shares_arn"),
        sqlite_autoincrement=True,
    )
