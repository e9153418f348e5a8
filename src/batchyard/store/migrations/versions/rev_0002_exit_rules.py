"""Jobs carry their exit rules (`retryStrategy.evaluateOnExit`).

Owns the one new column. Jobs stored before have none: NULL.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column."""
    op.add_column("jobs", sa.Column("exit_rules", sa.LargeBinary))
