"""What a place in the review queue rests on: votes and near-duplicate questions of findings, and the rank factors."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("finding", sa.Column("vote", sa.Float(), nullable=True))
    op.add_column("finding", sa.Column("cluster", sa.String(), nullable=True))
    op.create_index("ix_finding_cluster", "finding", ["cluster"])
    op.add_column("queue", sa.Column("confidence", sa.Float(), nullable=True))
    op.add_column("queue", sa.Column("miner_version", sa.String(), nullable=True))
    op.add_column("queue", sa.Column("factors", sa.JSON(), nullable=True))
    # until now the priority of a finding was its confidence
    op.execute("UPDATE queue SET confidence = priority WHERE reason <> 'audit'")
