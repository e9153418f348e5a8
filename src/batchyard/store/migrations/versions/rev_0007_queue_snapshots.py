"""How queues stand, for GetJobQueueSnapshot.

Owns one new table. The engine fills it at its start.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "queue_snapshots",
        sa.Column("queue_arn", sa.String, nullable=False),
        sa.Column("snapshot", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("queue_arn", name="pk_queue_snapshots"),
    )
