"""Consumable resources, and the jobs that need them.

Owns three new tables, and one new column of jobs. Jobs stored before need none: NULL.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables and add the column."""
    op.add_column("jobs", sa.Column("needs", sa.LargeBinary))
    op.create_table(
        "consumables",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("arn", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("region", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("is_replenishable", sa.Integer, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("given", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("is_deleted", sa.Integer),
        sa.Column("tags", sa.LargeBinary),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("used_up", sa.BigInteger, nullable=False),
        sa.Column("seen_version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_consumables"),
        sa.UniqueConstraint("arn", name="uq_consumables_arn"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_consumables_scope", "consumables", ["account", "region", "seq"])
    op.create_index(
        "ix_consumables_unseen",
        "consumables",
        ["seq"],
        sqlite_where=sa.text("version > seen_version"),
        postgresql_where=sa.text("version > seen_version"),
    )
    op.create_table(
        "consumable_jobs",
        sa.Column("consumable_arn", sa.String, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("job_id", sa.String, nullable=False),
        sa.PrimaryKeyConstraint(
            "consumable_arn", "created_ms", "job_id", name="pk_consumable_jobs"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "consumable_updates",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_consumable_updates"),
    )
    op.create_index("ix_consumable_updates_at", "consumable_updates", ["at_ms"])
