"""Whether a campaign is paused and why, and how often it was paused or resumed."""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Campaigns of before were never paused."""
    with op.batch_alter_table("rounds_campaign", schema=None) as batch_op:
        batch_op.add_column(sa.Column("turns", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("held", sqlmodel.sql.sqltypes.AutoString(), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("rounds_campaign", schema=None) as batch_op:
        batch_op.drop_column("held")
        batch_op.drop_column("turns")
