"""What datasets state: their category and jurisdiction."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("submission", sa.Column("category", sa.String(), nullable=False, server_default=""))
    op.add_column("submission", sa.Column("jurisdiction", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("submission", "jurisdiction")
    op.drop_column("submission", "category")
