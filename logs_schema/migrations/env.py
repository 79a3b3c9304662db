"""Alembic's entry: migrates on the connection, and in the transaction, that it is handed."""

from alembic import context
from sqlmodel import SQLModel

import logs_schema.tables  # noqa: F401 - fills the metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=SQLModel.metadata)
context.run_migrations()
