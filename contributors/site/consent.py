"""Joining a campaign: what it is is read from its signed statement, then our consent is signed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from contributors.client import Coalition
from contributors.signers import Signers, proven, standing_of
from contributors.site.datasets import remembered_digests, sources, write_declarations
from contributors.site.following import Following
from contributors.site.keys import register, site_key
from contributors.site.locking import alone
from contributors.site.policy import (
    FILE,
    Agreed,
    Agreements,
    acceptable,
    load_policy,
    read_agreements,
    write_agreements,
)
from contributors.site.rewards import signed_policies
from contributors.site.spending import read_spending
from protos.coalition.v1 import common_pb2
from protos.documents.base import FileEntry
from protos.documents.campaigns import Campaign, CampaignSpec, Consent
from protos.documents.models import Model
from protos.documents.rewards import RewardPolicy
from trust.digests import Digest
from trust.errors import Denied
from trust.statements import verify_statement


def consent(signers: Signers, campaign: str) -> common_pb2.Recorded:
    """Sign and send our consent.

    Raises `Denied` for a campaign beyond `site.toml` or one not signed by the core team, and for data that is not as our
    datasets say.
    """
    hub = signers.hub
    home = hub.home.directory
    spec = signed_spec(signers, campaign)
    if (home / FILE).exists():
        _check_site(hub, campaign, spec)
    key = site_key(home)
    register(hub, key)
    claim = Consent(hub=hub.identity.hub, signer=hub.identity.id, campaign=campaign, site_key=key.digest)
    policies, base = signed_policies(signers, spec), recorded_base(signers, spec)
    before = change_agreements(home, lambda known: with_agreement(known, campaign, spec, key.digest, policies, base))
    try:
        return hub.join_campaign(hub.sign(claim))
    except Exception:
        change_agreements(home, lambda known: before)
        raise


def _check_site(hub: Coalition, campaign: str, spec: CampaignSpec) -> None:
    home = hub.home.directory
    policy = load_policy(home)
    if why := acceptable(policy, spec, read_spending(home).besides(campaign)):
        raise Denied(f"Your site's policy refuses {campaign}: {why}.", "Change site.toml if you do want this.")
    known = Following(hub).look()
    write_declarations(home, known)
    sources(Path(policy.data), policy.country, known, remembered_digests(home))


def signed_spec(signers: Signers, campaign: str) -> CampaignSpec:
    """The spec that a core member signed: its statement's digest is the identifier, its signature is verified here.

    Raises `Denied` also when the key that signed it was revoked from before the statement's entry on.
    """
    said = proven(signers.hub, campaign)
    claim = said.claimed.claim
    if said.claimed.id != campaign or not isinstance(claim, Campaign):
        raise Denied(f"The hub gave another statement for {campaign}.")
    standing_of(said, signers.chain(said), signers.hub.home.statement_key())
    return claim.spec


def recorded_base(signers: Signers, spec: CampaignSpec) -> tuple[FileEntry, ...]:
    """The files of the model that a campaign starts from, proven from the ledger and signed by the hub.

    Raises `Denied` for another statement than that model's.
    """
    said = proven(signers.hub, spec.base_model)
    verify_statement(said.envelope, signers.hub.home.statement_key())
    claim = said.claimed.claim
    if not isinstance(claim, Model) or claim.model != spec.base_model:
        raise Denied(f"The hub gave another statement for {spec.base_model}.")
    return claim.files


def with_agreement(
    known: Agreements,
    campaign: str,
    spec: CampaignSpec,
    site_key: Digest | None = None,
    rewards: tuple[RewardPolicy, ...] = (),
    base: tuple[FileEntry, ...] = (),
) -> Agreements:
    """The agreements with this campaign among them, once."""
    others = tuple(each for each in known.campaigns if each.campaign != campaign)
    agreed = Agreed(campaign=campaign, spec=spec, rewards=rewards, base=base, site_key=site_key)
    return Agreements(campaigns=(*others, agreed))


def change_agreements(home: Path, change: Callable[[Agreements], Agreements]) -> Agreements:
    """Replace the agreements by what `change` makes of them, one process at a time; what they were before."""
    with alone(home, "agreements"):
        before = read_agreements(home)
        after = change(before)
        if after != before:
            write_agreements(home, after)
    return before
