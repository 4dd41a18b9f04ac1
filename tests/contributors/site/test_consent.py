"""A campaign is joined for what its signed statement says, if who signed it could say it where it stands."""

from __future__ import annotations

import pytest

from contributors import keychain
from contributors.client import Coalition
from contributors.signers import Signers
from contributors.site.consent import recorded_base, signed_spec
from protos.coalition.v1 import ledger_pb2
from protos.documents.campaigns import Campaign
from protos.documents.models import Model
from protos.documents.statements import HUB
from tests.contributors.served import Hub
from tests.contributors.site.test_policy import FILE, SPEC
from trust.digests import digest_bytes
from trust.errors import Corrupt, Denied, NotFound
from trust.tiles import decode_bundle, encode_bundle


class LeftOut(Coalition):
    """A hub as it answers when it holds one entry back: another stands in its place."""

    held_back = -1

    def tile(self, path: str) -> bytes:
        data = super().tile(path)
        if "entries" not in path:
            return data
        entries = decode_bundle(data)
        entries[self.held_back] = entries[self.held_back - 1]
        return encode_bundle(entries)

    def entries(self, start: int = 0, count: int = 0) -> list[ledger_pb2.LedgerEntry]:
        return [entry for entry in super().entries(start, count) if entry.index != self.held_back]


def test_a_campaign_that_a_disowned_key_opened_is_not_joined(hub: Hub, client: Coalition) -> None:
    with Coalition(hub.home("Core Team", "core")) as core:
        claims = [
            Campaign(hub=core.identity.hub, signer=core.identity.id, spec=SPEC.model_copy(update={"name": name}))
            for name in ("before", "after")
        ]
        before, after = (hub.base.journal.record(core.sign(claim).envelope, core.identity.id) for claim in claims)
        (revocation,) = keychain.revoke(core, "", after.index, "stolen")
    signers = Signers(client)
    assert signed_spec(signers, before.id).name == "before"
    with pytest.raises(Denied, match=f"entry {after.index} of the ledger, and entry .* disowns the key that signed it"):
        signed_spec(signers, after.id)
    with LeftOut(client.home) as lying:
        lying.held_back = client.receipt(revocation).index
        with pytest.raises(Corrupt, match="do not make the signed head"):
            signed_spec(Signers(lying), after.id)


def test_the_files_of_the_base_model_are_those_of_the_ledger(hub: Hub, client: Coalition) -> None:
    signers = Signers(client)
    with pytest.raises(NotFound):
        recorded_base(signers, SPEC)
    said = {"model": "tiny-1", "origin": "run", "source": "run-000000000000", "payload": digest_bytes(b"a run")}
    made = {"parameters": 1, "architecture": "llama", "files": (FILE,), "code_version": "test"}
    hub.base.journal.sign_and_record(Model.read({"hub": client.identity.hub, "signer": HUB, **said, **made}))
    assert recorded_base(signers, SPEC) == (FILE,)
