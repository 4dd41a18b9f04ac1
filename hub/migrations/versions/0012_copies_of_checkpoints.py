"""Attempts know how many ranks they have, and the copies of checkpoints that any number can go on from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("training_attempt", sa.Column("ranks", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("training_attempt", sa.Column("copies", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("training_attempt", "copies")
    op.drop_column("training_attempt", "ranks")
