"""Forecasts that were made, and how they did.

Owns their table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0011"

_SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "forecasts",
        sa.Column("seq", _SEQ, nullable=False),
        sa.Column("job_id", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("region", sa.String, nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
        sa.Column("p10_ms", sa.BigInteger, nullable=False),
        sa.Column("p50_ms", sa.BigInteger, nullable=False),
        sa.Column("p90_ms", sa.BigInteger, nullable=False),
        sa.Column("started_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("seq", name="pk_forecasts"),
        sa.UniqueConstraint("job_id", name="uq_forecasts_job_id"),
        sqlite_autoincrement=True,
    )
