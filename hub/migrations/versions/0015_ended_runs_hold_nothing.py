"""What runs that have ended still held beside the ledger is let go."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Their entries tell all that counts."""
    holding, run = (
        sa.table(name, *map(sa.column, columns))
        for name, columns in (("training_holding", ("run",)), ("training_run", ("id", "outcome")))
    )
    op.execute(sa.delete(holding).where(holding.c.run.in_(sa.select(run.c.id).where(run.c.outcome != ""))))


def downgrade() -> None:
    """Nothing needs it."""
