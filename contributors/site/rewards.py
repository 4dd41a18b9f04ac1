"""The reward policies of a campaign, as their members signed them."""

from __future__ import annotations

from contributors.client import Coalition
from contributors.signers import about_keys, proven, standing_of
from protos.documents.campaigns import CampaignSpec
from protos.documents.rewards import RewardPolicy
from protos.documents.statements import unnamed
from protos.documents.submissions import Reward
from trust.digests import Digest
from trust.errors import Denied


def signed_policies(hub: Coalition, spec: CampaignSpec) -> tuple[RewardPolicy, ...]:
    """The policies that a spec names, each proven from the ledger and signed by its member; none where it names none.

    Raises `Denied` for another content than the spec names, and where the key that signed was revoked from before the entry on.
    """
    if spec.rewards is None:
        return ()
    return tuple(_signed(hub, Digest(digest)) for digest in spec.rewards.policies)


def _signed(hub: Coalition, payload: Digest) -> RewardPolicy:
    said = proven(hub, unnamed("reward", payload))
    claim = said.claimed.claim
    if said.claimed.payload != payload or not isinstance(claim, Reward):
        raise Denied(f"The hub gave another statement for the reward policy {payload}.")
    standing_of(said, about_keys(hub, claim.signer), hub.home.statement_key())
    return claim.policy
