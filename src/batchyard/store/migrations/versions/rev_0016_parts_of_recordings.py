"""Recordings in parts, that one engine makes one after the other.

Owns the column. A recording from before was the only one of its engine.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the column."""
    op.add_column("recordings", sa.Column("part", sa.Integer, nullable=False, server_default="1"))
