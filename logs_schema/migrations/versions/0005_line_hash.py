"""Which log line a record is as: that line need not be read again."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("interaction", sa.Column("line_hash", sa.String(), nullable=True))
    op.create_index("ix_interaction_line_hash", "interaction", ["line_hash"])
