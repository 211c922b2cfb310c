"""Alembic's way in: the connection comes from `migrate.upgrade`."""

from __future__ import annotations

from alembic import context

from app.stores.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
