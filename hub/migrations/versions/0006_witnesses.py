"""Witnesses and quorum policies."""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "witness",
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("member", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("role", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("vkey", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("raw", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.PrimaryKeyConstraint("index"),
    )
    op.create_index(op.f("ix_witness_member"), "witness", ["member"], unique=False)
    op.create_index(op.f("ix_witness_raw"), "witness", ["raw"], unique=False)
    op.create_table(
        "witness_policy",
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("quorum", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("index"),
    )


def downgrade() -> None:
    op.drop_table("witness_policy")
    op.drop_table("witness")
