"""Which trace a joined span belonged to, for feedback that names a span only."""

import sqlalchemy as sa
from alembic import op

revision = "0002a"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "joined_span",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("span_id", sa.String(), nullable=False),
        sa.Column("trace_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("source", "span_id"),
    )
    op.create_index("ix_joined_span_trace", "joined_span", ["source", "trace_id"])
