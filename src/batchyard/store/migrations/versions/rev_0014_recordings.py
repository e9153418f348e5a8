"""What engines decided from, for replays.

Owns the table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "recordings",
        sa.Column("seq", _SEQ, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_recordings"),
        sqlite_autoincrement=True,
    )
    is_beginning = sa.text("kind = 'BEGINNING'")
    op.create_index(
        "ix_recordings_beginnings",
        "recordings",
        ["seq"],
        sqlite_where=is_beginning,
        postgresql_where=is_beginning,
    )
