"""Which consents and datasets count: not what a stolen key signed, what was withdrawn, or what this hub may not learn from."""

from __future__ import annotations

from typing import Any

import pytest

from hub.rounds import projection, sites, standings
from hub.rounds.projection import existing
from hub.rounds.tables import SiteRow
from protos.documents.campaigns import Campaign, CampaignSpec, Consent
from protos.documents.members import Keys, Revocation
from protos.documents.methods import LocalTraining
from protos.documents.placing import Place
from protos.documents.statements import sign
from protos.documents.submissions import Dataset, Withdrawal
from tests.hub.rounds.test_projection import FILE, ORIGIN, model
from trust.digests import digest_bytes
from trust.keys import ArtifactKey

HUB = Place("hub", ORIGIN, "NL")
KEYS = {name: digest_bytes(name.encode()) for name in ("mine", "theirs", "medicine")}


@pytest.fixture
def campaign(base: Any) -> str:
    """Open, with two members beside the core team whose site keys are registered."""
    projection.register(base.journal)
    base.enrol("core", "core")
    base.enrol("law")
    base.enrol("medicine")
    base.journal.sign_and_record(model("tiny-1", None, origin="run", source="run-0", round=0))
    training = LocalTraining(steps=1, batch_size=1, sequence_length=16, learning_rate=0.1)
    spec = CampaignSpec(name="rounds", base_model="tiny-1", rounds=2, minimum_members=2, training=training)
    with base.database.session(writing=True) as session:
        for name, digest in KEYS.items():
            member = "medicine" if name == "medicine" else "law"
            session.add(SiteRow(digest=digest, member=member, public_key=name))
    return str(base.record(Campaign(hub=ORIGIN, signer="core", spec=spec)).id)


def consent(base: Any, campaign: str, key: str, member: str = "law") -> int:
    claim = Consent(hub=ORIGIN, signer=member, campaign=campaign, site_key=KEYS[key])
    return int(base.record(claim).index)


def disown(base: Any, member: str, since: int, key: str | None = None) -> None:
    """As the core team does when asked; for no key, all of them."""
    claim = {"hub": ORIGIN, "signer": "core", "member": member, "key": key, "compromised_since": since}
    base.record(Revocation.read({**claim, "reason": "stolen"}))


def taking_part(base: Any, campaign: str) -> list[str]:
    with base.database.session() as session:
        return [row.site_key for row in standings.consents(session, base.blobs, existing(session, campaign))]


def registered(base: Any) -> dict[str, str]:
    with base.database.session() as session:
        return {row.public_key: row.member for row in map(session.get_one, [SiteRow] * 3, KEYS.values())}


def second_key(base: Any, member: str) -> str:
    """Give a member another key beside its own; the keyid of the old one, which goes on signing."""
    old, new = base.keys[member], ArtifactKey.generate()
    pems = tuple(key.public.pem().decode() for key in (old, new))
    claim = Keys(hub=ORIGIN, signer=member, version=2, keys=pems)
    base.journal.record(sign(claim, old, new), member)
    return str(old.public.keyid)


def dataset(base: Any, name: str, member: str = "law", **terms: object) -> str:
    described = {"name": name, "domain": "law", "licence": "CC-BY-4.0", "provenance": "a test", "category": "private"}
    file = FILE.model_dump() | {"digest": digest_bytes(name.encode()), "rows": 1}
    claim = {"hub": ORIGIN, "signer": member, "rows": 1, "files": [file], **described, **terms}
    return str(base.record(Dataset.read(claim)).id)


def learnable(base: Any, hub: Place = HUB) -> dict[str, list[str]]:
    with base.database.session() as session:
        return standings.learnable(session, hub)


def test_a_consent_from_before_the_theft_goes_on_counting(base: Any, campaign: str) -> None:
    consent(base, campaign, "mine")
    old = second_key(base, "law")
    disown(base, "law", base.journal.size, old)
    assert taking_part(base, campaign) == [KEYS["mine"]]


def test_a_consent_that_a_stolen_key_signed_counts_no_more_and_the_campaign_waits(base: Any, campaign: str) -> None:
    stolen = second_key(base, "law")
    consent(base, campaign, "medicine", "medicine")
    forged = consent(base, campaign, "theirs")
    with base.database.session() as session:
        assert standings.standing(session, base.blobs, existing(session, campaign)).consents == 2
    disown(base, "law", forged, stolen)
    assert taking_part(base, campaign) == [KEYS["medicine"]]
    with base.database.session() as session:
        assert standings.standing(session, base.blobs, existing(session, campaign)).consents == 1


def test_a_member_that_was_revoked_takes_part_in_nothing_that_goes_on(base: Any, campaign: str) -> None:
    consent(base, campaign, "mine")
    consent(base, campaign, "medicine", "medicine")
    disown(base, "law", since=base.journal.size)
    assert taking_part(base, campaign) == [KEYS["medicine"]]


def test_the_key_that_a_disowned_consent_names_is_nobodys_for_ever(base: Any, campaign: str) -> None:
    consent(base, campaign, "medicine", "medicine")
    stolen = second_key(base, "law")
    disown(base, "law", consent(base, campaign, "theirs"), stolen)
    for _ in range(2):
        with base.database.session(writing=True) as session:
            row = session.get_one(SiteRow, KEYS["medicine"])
            assert row.member == "medicine"
            gone = sites.give_up(session, base.blobs)
        assert gone == [b"theirs"]


def test_every_key_of_a_revoked_member_is_given_up(base: Any, campaign: str) -> None:
    disown(base, "law", since=base.journal.size)
    with base.database.session(writing=True) as session:
        assert sorted(sites.give_up(session, base.blobs)) == [b"mine", b"theirs"]
    assert registered(base) == {"mine": "", "theirs": "", "medicine": "medicine"}


def test_sites_learn_from_what_stands_and_may_be_learned_from_here(base: Any, campaign: str) -> None:
    letters = dataset(base, "letters")
    files = dataset(base, "files", category="sovereign", jurisdiction=["NL"])
    notes = dataset(base, "notes", "medicine")
    assert learnable(base) == {"law": [letters, files], "medicine": [notes]}
    assert learnable(base, Place("hub", ORIGIN, "US")) == {"law": [letters], "medicine": [notes]}
    base.record(Withdrawal(hub=ORIGIN, signer="law", submission=letters))
    assert learnable(base)["law"] == [files]
    disown(base, "medicine", since=0, key=base.keys["medicine"].public.keyid)
    assert learnable(base) == {"law": [files]}
