"""Nodes can be revoked; submissions say which key signed them, and by which entry they were quarantined."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of submissions of before, the key is not known until `coalition-hub rebuild` has run: they are not quarantined."""
    op.add_column("member_node", sa.Column("revoked", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("member_node", sa.Column("revoked_at", sa.String(), nullable=False, server_default=""))
    op.add_column("submission", sa.Column("signed_with", sa.String(), nullable=False, server_default=""))
    op.add_column("submission", sa.Column("quarantined_index", sa.Integer(), nullable=True))
    op.add_column("submission_draft", sa.Column("delegation", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("submission_draft", "delegation")
    for name in ("quarantined_index", "signed_with"):
        op.drop_column("submission", name)
    for name in ("revoked_at", "revoked"):
        op.drop_column("member_node", name)
