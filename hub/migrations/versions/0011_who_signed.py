"""Entries say which key signed them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of entries of before, the key is found in their envelope each time, until `coalition-hub rebuild` has run."""
    op.add_column("ledger_entry", sa.Column("key", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("ledger_entry", "key")
