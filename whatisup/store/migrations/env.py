"""Alembic's entry: runs the upgrades on the connection it is handed, inside that connection's transaction."""

from __future__ import annotations

from alembic import context

from whatisup.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
