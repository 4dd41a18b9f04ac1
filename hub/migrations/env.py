"""Alembic's entry: migrates over the connection that `hub.database` hands in."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

import hub.tables  # noqa: F401  (every room's tables, for autogenerate)

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
connection.commit()
