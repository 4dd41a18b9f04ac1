"""The reward policies of a campaign, as their members signed them."""

from __future__ import annotations

from contributors.signers import Signers, proven, standing_of
from protos.documents.campaigns import CampaignSpec
from protos.documents.rewards import RewardPolicy
from protos.documents.statements import unnamed
from protos.documents.submissions import Reward
from trust.digests import Digest
from trust.errors import Denied


def signed_policies(signers: Signers, spec: CampaignSpec) -> tuple[RewardPolicy, ...]:
    """The policies that a spec names, each proven from the ledger and signed by its member; none where it names none.

    Raises `Denied` for another content than the spec names, and where the key that signed was revoked from before the entry on.
    """
    if spec.rewards is None:
        return ()
    return tuple(_signed(signers, Digest(digest)) for digest in spec.rewards.policies)


def _signed(signers: Signers, payload: Digest) -> RewardPolicy:
    said = proven(signers.hub, unnamed("reward", payload))
    claim = said.claimed.claim
    if said.claimed.payload != payload or not isinstance(claim, Reward):
        raise Denied(f"The hub gave another statement for the reward policy {payload}.")
    standing_of(said, signers.chain(said), signers.hub.home.statement_key())
    return claim.policy
