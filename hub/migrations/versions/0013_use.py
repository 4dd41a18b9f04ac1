"""What runs have held of the machines, by entry, and what no entry tells yet."""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Entries of before tell nothing of it: they count as none."""
    op.create_table(
        "training_use",
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("project", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("rank_seconds", sa.Float(), nullable=False),
        sa.Column("at", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.PrimaryKeyConstraint("index"),
    )
    op.create_table(
        "training_holding",
        sa.Column("run", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("rank_seconds", sa.Float(), nullable=False),
        sa.Column("ranks", sa.Integer(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("run"),
    )


def downgrade() -> None:
    op.drop_table("training_holding")
    op.drop_table("training_use")
