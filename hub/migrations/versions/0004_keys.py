"""Standings instead of one key per member; which key is whose; TLS keys."""

from __future__ import annotations

import hashlib
import json

import sqlalchemy as sa
from alembic import op
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "member_key",
        sa.Column("keyid", sa.String(), nullable=False),
        sa.Column("member", sa.String(), nullable=False),
        sa.Column("delegation", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("keyid"),
    )
    op.create_index("ix_member_key_member", "member_key", ["member"])
    op.create_index("ix_member_key_delegation", "member_key", ["delegation"])
    op.create_table(
        "member_tls_key",
        sa.Column("keyid", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("party", sa.String(), nullable=False),
        sa.Column("expires_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("keyid"),
    )
    op.add_column("member", sa.Column("standing", sa.String(), nullable=False, server_default=""))
    _carry_over()
    with op.batch_alter_table("member") as member:
        member.drop_column("artifact_key")
        member.alter_column("standing", server_default=None)


def _carry_over() -> None:
    """Members enrolled before keep their one key, valid since the entry that introduced them."""
    connection = op.get_bind()
    rows = connection.execute(
        sa.text(
            'SELECT m.id, m.organisation, m.role, m.artifact_key, e."index" AS since FROM member m '
            "JOIN ledger_entry e ON e.kind = 'member' AND e.id = m.id"
        )
    ).all()
    for row in rows:
        public = load_pem_public_key(row.artifact_key.encode())
        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        keyid = hashlib.sha256(spki).hexdigest()
        key = {"keyid": keyid, "pem": row.artifact_key, "since": row.since}
        standing = {"member": row.id, "organisation": row.organisation, "role": row.role, "version": 1, "keys": [key]}
        connection.execute(
            sa.text("UPDATE member SET standing = :standing WHERE id = :id"),
            {"standing": json.dumps(standing), "id": row.id},
        )
        connection.execute(
            sa.text("INSERT INTO member_key (keyid, member, delegation) VALUES (:keyid, :member, '')"),
            {"keyid": keyid, "member": row.id},
        )


def downgrade() -> None:
    raise NotImplementedError("standings hold more than one key")
