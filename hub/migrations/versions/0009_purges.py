"""Grants say which entry purged their blob; what an open submission counts on stays, with when it was shown."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("blob_grant", sa.Column("purged", sa.Integer(), nullable=True))
    _index("ix_blob_grant_source", "source", "source <> ''")
    _index("ix_blob_grant_purged", "purged", "purged IS NOT NULL")
    op.add_column("submission_uploaded", sa.Column("shown_at", sa.String(), nullable=False, server_default=""))
    op.create_index("ix_submission_uploaded_digest", "submission_uploaded", ["digest"])
    op.execute(
        "DELETE FROM submission_uploaded WHERE NOT EXISTS (SELECT 1 FROM submission_draft "
        "WHERE submission_draft.id = submission_uploaded.submission AND submission_draft.state <> 'accepted')"
    )
    op.execute(
        "UPDATE submission_uploaded SET shown_at = (SELECT opened_at FROM submission_draft "
        "WHERE submission_draft.id = submission_uploaded.submission)"
    )


def _index(name: str, column: str, where: str) -> None:
    op.create_index(name, "blob_grant", [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def downgrade() -> None:
    op.execute("DELETE FROM submission_uploaded WHERE shown_at = ''")
    op.drop_index("ix_submission_uploaded_digest", "submission_uploaded")
    op.drop_column("submission_uploaded", "shown_at")
    op.drop_index("ix_blob_grant_purged", "blob_grant")
    op.drop_index("ix_blob_grant_source", "blob_grant")
    op.drop_column("blob_grant", "purged")
