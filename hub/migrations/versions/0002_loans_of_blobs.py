"""Loans of blobs: what nodes may read although no entry says so."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blob_loan",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("audience", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "audience"),
    )


def downgrade() -> None:
    op.drop_table("blob_loan")
