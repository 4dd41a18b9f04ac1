"""What an attempt has prepared may be tokens in several shards; there was one file."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_ATTEMPTS = sa.table("training_attempt", sa.column("run", sa.String()), sa.column("prepared", sa.JSON()))


def upgrade() -> None:
    _each(lambda tokens: [tokens] if isinstance(tokens, dict) else tokens)


def downgrade() -> None:
    _each(lambda tokens: tokens[0])


def _each(change: Any) -> None:
    connection = op.get_bind()
    for run, prepared in connection.execute(sa.select(_ATTEMPTS.c.run, _ATTEMPTS.c.prepared)).all():
        if prepared:
            changed = prepared | {"tokens": change(prepared["tokens"])}
            connection.execute(_ATTEMPTS.update().where(_ATTEMPTS.c.run == run).values(prepared=changed))
