"""What an evaluation computed, by digest, so that it is not computed twice, and who did. Of older ones neither is known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("evaluation", sa.Column("work", sa.String(), nullable=False, server_default=""))
    op.add_column("evaluation", sa.Column("same_as", sa.String(), nullable=False, server_default=""))
    op.add_column("evaluation", sa.Column("node", sa.String(), nullable=False, server_default=""))
    op.create_index("ix_evaluation_work", "evaluation", ["work"])


def downgrade() -> None:
    op.drop_index("ix_evaluation_work", "evaluation")
    op.drop_column("evaluation", "node")
    op.drop_column("evaluation", "same_as")
    op.drop_column("evaluation", "work")
