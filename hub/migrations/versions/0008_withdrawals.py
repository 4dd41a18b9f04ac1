"""Grants say whose they are and whether they were withdrawn; submissions, by whom and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Grants of before have no source: those of submissions can be withdrawn once `coalition-hub rebuild` has run."""
    op.rename_table("blob_grant", "blob_grant_before")
    op.create_table(
        "blob_grant",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("audience", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "audience", "source", name="blob_grant_of_pkey"),
    )
    op.execute(
        "INSERT INTO blob_grant (digest, audience, source, withdrawn) "
        "SELECT digest, audience, '', false FROM blob_grant_before"
    )
    op.drop_table("blob_grant_before")
    for name in ("withdrawn_at", "withdrawn_by", "withdrawn_because"):
        op.add_column("submission", sa.Column(name, sa.String(), nullable=False, server_default=""))
    op.add_column("submission", sa.Column("withdrawn_index", sa.Integer(), nullable=True))


def downgrade() -> None:
    for name in ("withdrawn_index", "withdrawn_because", "withdrawn_by", "withdrawn_at"):
        op.drop_column("submission", name)
    op.rename_table("blob_grant", "blob_grant_after")
    op.create_table(
        "blob_grant",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("audience", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "audience"),
    )
    op.execute(
        "INSERT INTO blob_grant (digest, audience) SELECT DISTINCT digest, audience FROM blob_grant_after WHERE NOT withdrawn"
    )
    op.drop_table("blob_grant_after")
