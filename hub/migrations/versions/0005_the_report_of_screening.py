"""Findings with counts and examples; how often a member had something screened."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("submission_finding", schema=None) as batch_op:
        batch_op.add_column(sa.Column("count", sa.BigInteger(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("total", sa.BigInteger(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("examples", sa.JSON(), nullable=False, server_default="[]"))
    op.create_table(
        "submission_screening",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("member", sa.String(), nullable=False),
        sa.Column("started_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_submission_screening_member", "submission_screening", ["member"])


def downgrade() -> None:
    op.drop_index("ix_submission_screening_member", "submission_screening")
    op.drop_table("submission_screening")
    with op.batch_alter_table("submission_finding", schema=None) as batch_op:
        for column in ("examples", "total", "count"):
            batch_op.drop_column(column)
