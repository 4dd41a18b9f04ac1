"""Who may revoke whose keys decides what has to be read of the ledger."""

from __future__ import annotations

from contributors import keychain
from contributors.client import Coalition
from contributors.signers import Signers, proven
from protos.documents.campaigns import Campaign
from tests.contributors.served import Hub
from tests.contributors.site.test_policy import SPEC


class Reading(Coalition):
    """Remembers which blobs it read."""

    def blob(self, digest: str, max_bytes: int = 64 << 20) -> bytes:
        self.__dict__.setdefault("read", []).append(digest)
        return super().blob(digest, max_bytes)


def test_what_others_revoke_costs_nothing_and_what_was_read_is_not_read_again(hub: Hub, client: Coalition) -> None:
    with Coalition(hub.home("Core Team", "core")) as core, Coalition(hub.home("Core Two", "core")) as second:
        claim = Campaign(hub=core.identity.hub, signer=core.identity.id, spec=SPEC)
        said = hub.base.journal.record(core.sign(claim).envelope, core.identity.id)
        keychain.revoke(client, "", said.index + 1, "a flood of these")
        keychain.revoke_member(second, core.identity.id, "", said.index + 1, "left")
    with Reading(client.home) as reader:
        signers = Signers(reader)
        statement = proven(reader, said.id)
        chain = signers.chain(statement)
        assert {each.entry.signer for each in chain if each.entry.kind == "revocation"} == {"core-two"}
        flood = {
            entry.envelope
            for entry in client.entries()
            if (entry.kind, entry.signer) == ("revocation", "law-institute")
        }
        assert flood
        assert not flood & set(reader.read)
        before = len(reader.read)
        assert [each.index for each in signers.chain(statement)] == [each.index for each in chain]
        assert len(reader.read) == before + len(chain)
