"""The documents feed, how far incremental steps have come, and the records of a session or user by time."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "document",
        sa.Column("doc_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("text_hash", sa.String(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("title", sa.String(), nullable=True),
        sa.Column("url", sa.String(), nullable=True),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("doc_id", "key"),
    )
    op.create_table(
        "watermark",
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("moment", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("step"),
    )
    op.drop_index("ix_interaction_session_id", "interaction")
    op.drop_index("ix_interaction_user_id", "interaction")
    op.create_index("ix_interaction_session", "interaction", ["session_id", "occurred_at"])
    op.create_index("ix_interaction_user", "interaction", ["user_id", "occurred_at"])
