"""A campaign is joined for what its signed statement says, if who signed it could say it where it stands."""

from __future__ import annotations

import pytest

from contributors import keychain
from contributors.client import Coalition
from contributors.site.consent import signed_spec
from protos.documents.campaigns import Campaign
from tests.contributors.served import Hub
from tests.contributors.site.test_policy import SPEC
from trust.errors import Denied


def test_a_campaign_that_a_disowned_key_opened_is_not_joined(hub: Hub, client: Coalition) -> None:
    with Coalition(hub.home("Core Team", "core")) as core:
        claims = [
            Campaign(hub=core.identity.hub, signer=core.identity.id, spec=SPEC.model_copy(update={"name": name}))
            for name in ("before", "after")
        ]
        before, after = (hub.base.journal.record(core.sign(claim).envelope, core.identity.id) for claim in claims)
        keychain.revoke(core, "", after.index, "stolen")
    assert signed_spec(client, before.id).name == "before"
    with pytest.raises(Denied, match=f"entry {after.index} of the ledger, and entry .* disowns the key that signed it"):
        signed_spec(client, after.id)
