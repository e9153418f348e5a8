"""Forecasts with the queue of their job, and with what their ends were stretched by.

Owns the columns. What was said before was said as runs had it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the columns, and find the latest of a queue or a scope by an index."""
    op.add_column("forecasts", sa.Column("queue_arn", sa.String))
    for name in ("low_permille", "high_permille"):
        column = sa.Column(name, sa.Integer, nullable=False, server_default="1000")
        op.add_column("forecasts", column)
    op.create_index("ix_forecasts_queue", "forecasts", ["queue_arn", "seq"])
    op.create_index("ix_forecasts_scope", "forecasts", ["account", "region", "seq"])
