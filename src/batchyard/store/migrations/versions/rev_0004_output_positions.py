"""Each container of a task has a position of its own in its output.

Owns the move from `log_positions`, one row for each task, to `output_positions`. Tasks that run
while the store is upgraded have one container, and go on from the row without a stream.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table, move the rows, drop the old one."""
    op.create_table(
        "output_positions",
        sa.Column("task_id", sa.String, nullable=False),
        sa.Column("stream", sa.String, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("task_id", "stream", name="pk_output_positions"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO output_positions (task_id, stream, position)"
        " SELECT task_id, '', position FROM log_positions"
    )
    op.drop_table("log_positions")
