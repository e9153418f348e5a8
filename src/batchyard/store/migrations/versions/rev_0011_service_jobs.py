"""Service environments, and jobs that run in them.

Owns their tables and columns.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0012"

_SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the tables and the columns."""
    op.create_table(
        "service_environments",
        sa.Column("seq", _SEQ, nullable=False),
        sa.Column("arn", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("region", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("detail", sa.LargeBinary, nullable=False),
        sa.Column("tags", sa.LargeBinary),
        sa.PrimaryKeyConstraint("seq", name="pk_service_environments"),
        sa.UniqueConstraint("arn", name="uq_service_environments_arn"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "service_job_requests",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("job_id", sa.String, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_service_job_requests"),
    )
    op.create_index("ix_service_job_requests_at_ms", "service_job_requests", ["at_ms"])
    op.add_column("jobs", sa.Column("quota_share", sa.String))
    op.add_column("jobs", sa.Column("service", sa.LargeBinary))
    op.add_column("wishes", sa.Column("priority", sa.Integer))
