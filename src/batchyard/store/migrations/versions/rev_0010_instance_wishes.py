"""Wishes about instances that an operator registers.

Owns their table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"

_SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the table."""
    wishes = op.create_table(
        "instance_wishes",
        sa.Column("seq", _SEQ, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("settled_ms", sa.BigInteger),
        sa.Column("wish", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_instance_wishes"),
        sqlite_autoincrement=True,
    )
    is_waiting = wishes.c.settled_ms.is_(None)
    op.create_index(
        "ix_instance_wishes_waiting",
        "instance_wishes",
        ["seq"],
        sqlite_where=is_waiting,
        postgresql_where=is_waiting,
    )
