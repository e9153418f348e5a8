"""The machines of the engine in charge, for those that stand by.

Owns one column.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the column."""
    op.add_column("leadership", sa.Column("hosts", sa.LargeBinary))
