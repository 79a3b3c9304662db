"""Alembic migrations of the store; run by `logs_schema.database`."""
