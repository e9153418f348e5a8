"""Alembic's entry: runs the migrations on the connection that `migrate.upgrade` passes.

Owns nothing; refuses to open a database of its own.
"""

from alembic import context

from batchyard.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite changes a table by copying it.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
