"""Arrays, their children, and multi-node jobs.

Owns the columns of jobs that say so, and the table of children. Jobs stored before are neither:
NULL.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column("jobs", sa.Column("array_size", sa.Integer))
    op.add_column("jobs", sa.Column("depends_on_each", sa.LargeBinary))
    op.add_column("jobs", sa.Column("is_sequential", sa.Integer))
    op.add_column("jobs", sa.Column("nodes", sa.LargeBinary))
    children = op.create_table(
        "children",
        sa.Column("parent_id", sa.String, nullable=False),
        sa.Column("child_index", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("stopped_ms", sa.BigInteger),
        sa.Column("progress", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("parent_id", "child_index", name="pk_children"),
        sqlite_with_rowid=False,
    )
    is_live = children.c.stopped_ms.is_(None)
    op.create_index(
        "ix_children_live",
        "children",
        ["status", "parent_id"],
        sqlite_where=is_live,
        postgresql_where=is_live,
    )
