"""Witnesses dial a real hub over mutual TLS: a quorum makes entries final, without one they are pending, and it recovers."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from contributors import keychain
from contributors.client import Coalition
from contributors.home import Home
from contributors.packing import pack_dataset
from contributors.witness.attachment import attached, refuse_unfit
from contributors.witness.cosigner import Cosigner, witness_key
from contributors.witness.standing import enrol_witness, set_policy, standing
from hub.witnesses.finality import Finality
from protos.documents.members import Revocation
from protos.documents.witnesses import Witness, WitnessPolicy
from tests.contributors.served import Hub, dataset
from tests.contributors.witness.hearing import Heard, until
from trust.cosignatures import cosignatures
from trust.errors import Conflict, Denied, Invalid
from trust.keys import WitnessKey, WitnessPublicKey
from trust.notes import verify_tree_head
from trust.receipts import Receipt


def submit(client: Coalition, folder: Path, **changes: object) -> str:
    """A small dataset; what the hub calls it."""
    name = f"text-{secrets.token_hex(4)}"
    text = folder / f"{name}.txt"
    text.write_text(f"A contract about {name}.")
    packed = pack_dataset(text, folder / name)
    return client.submit(client.sign(dataset(client, packed, name=name, **changes)), packed.sources, lambda n: None).id


def policy(hub: Hub, quorum: int) -> None:
    with Coalition(hub.home(f"Core {secrets.token_hex(3)}", "core")) as core:
        set_policy(core, core.sign(WitnessPolicy(hub=core.identity.hub, signer=core.identity.id, quorum=quorum)))


def test_without_witnesses_everything_is_final_and_that_is_said(client: Coalition, tmp_path: Path) -> None:
    identifier = submit(client, tmp_path)
    assert client.submission(identifier).state == "accepted"
    found = standing(client)
    assert (found.size, found.final, found.quorum, found.counted) == (2, 2, 0, 0)
    assert "nobody but the hub" in found.rule


def test_a_witness_enrols_attaches_and_cosigns_every_head(
    hub: Hub, home: Home, client: Coalition, tmp_path: Path
) -> None:
    heard = Heard()
    with attached(home, heard) as cosigner:
        heard.wait("attached")
        assert heard.events[0].kind == "enrolled"
        heard.wait("cosigned", 2)
        until(lambda: standing(client).final == 2)
        identifier = submit(client, tmp_path)
        heard.wait("cosigned", 3)
        until(lambda: standing(client).final == 3)
        found = standing(client)
        assert client.submission(identifier).state == "accepted"
        assert (found.quorum, found.counted) == (1, 1)
        (shown,) = found.witnesses
        assert (shown.member, shown.attached, shown.counted, shown.size, shown.trouble) == (
            "law-institute",
            True,
            True,
            3,
            "",
        )
        key = home.ledger_key()
        for note in (found.newest, found.witnessed):
            assert verify_tree_head(note, key, key.name).size == 3
            assert cosignatures(note, [cosigner.key.public])
    receipt = Receipt.decode(client.receipt(identifier).proof)
    assert cosignatures(receipt.note, [WitnessPublicKey.decode(shown.vkey)])
    until(lambda: not standing(client).witnesses[0].attached)


def test_without_its_quorum_an_entry_is_pending_and_becomes_final_by_itself(
    hub: Hub, home: Home, client: Coalition, tmp_path: Path
) -> None:
    other = hub.home("University")
    with attached(home, Heard()) as first, attached(other, Heard()):
        until(lambda: standing(client).quorum == 2 and standing(client).final == 4)
    until(lambda: not any(each.attached for each in standing(client).witnesses))
    identifier = submit(client, tmp_path)
    assert client.submission(identifier).state == "pending"
    assert [each.state for each in client.submissions("dataset")] == ["pending"]
    with attached(home, heard := Heard()):
        heard.wait("cosigned", 5)
        until(lambda: 5 in [each.size for each in standing(client).witnesses])
        assert client.submission(identifier).state == "pending"  # one of two
        with attached(other, Heard()):
            until(lambda: client.submission(identifier).state == "accepted")
    assert standing(client).final == 5
    hub.stop()
    hub.start()
    with Coalition(home) as again:  # the cosigned head was durable before it counted
        assert again.submission(identifier).state == "accepted"
        assert cosignatures(standing(again).witnessed, [first.key.public])


def test_a_witness_comes_back_after_the_hub_was_away(hub: Hub, home: Home, client: Coalition, tmp_path: Path) -> None:
    with attached(home, heard := Heard()):
        heard.wait("cosigned", 2)
        hub.stop()
        heard.wait("away")
        hub.start()
        submit(client, tmp_path)
        heard.wait("cosigned", 3)
    assert sum(event.kind == "enrolled" for event in heard.events) == 1


def test_the_policy_of_the_core_team_counts_from_its_entry_on(hub: Hub, home: Home, client: Coalition) -> None:
    with attached(home, Heard()), attached(hub.home("University"), Heard()):
        until(lambda: standing(client).quorum == 2 and standing(client).final == standing(client).size)
        policy(hub, 1)
        assert standing(client).quorum == 1
        with pytest.raises(Conflict, match="cannot be met"):
            policy(hub, 3)
    policy(hub, 0)
    found = standing(client)
    assert found.final == found.size
    assert "asks for no witness" in found.rule


def test_the_core_teams_own_witness_makes_nothing_final(hub: Hub, home: Home, client: Coalition) -> None:
    core = hub.home("Core Team", "core")
    with attached(home, heard := Heard()):
        heard.wait("attached")
    with attached(core, heard := Heard()):
        heard.wait("cosigned", 4)
        until(lambda: any(each.member == "core-team" and each.size == 4 for each in standing(client).witnesses))
        found = standing(client)
        assert (found.quorum, found.counted) == (1, 1)
        assert found.final < 4


def test_only_a_member_enrols_its_own_key_under_its_own_name(hub: Hub, client: Coalition) -> None:
    us = client.identity

    def enrol(key: WitnessKey) -> None:
        enrol_witness(client, client.sign(Witness.of(us.hub, us.id, key)))

    unproven = WitnessKey.generate(f"{us.hub}/{us.id}").public.encode()
    with pytest.raises(Denied, match="nobody showed that it is held"):
        enrol_witness(client, client.sign(Witness(hub=us.hub, signer=us.id, vkey=unproven)))
    with pytest.raises(Invalid, match="must be called"):
        enrol(WitnessKey.generate(f"{us.hub}/university"))
    enrol(key := WitnessKey.generate(f"{us.hub}/{us.id}"))
    with Coalition(hub.home("University")) as other:
        them = other.identity
        stolen = WitnessKey(f"{them.hub}/{them.id}", key.seed)
        with pytest.raises(Conflict, match="witness already"):
            enrol_witness(other, other.sign(Witness.of(them.hub, them.id, stolen)))
        with pytest.raises(Denied):
            set_policy(other, other.sign(WitnessPolicy(hub=them.hub, signer=them.id, quorum=0)))
        with pytest.raises(Invalid, match="came where"):
            enrol_witness(other, other.sign(WitnessPolicy(hub=them.hub, signer=them.id, quorum=0)))
    with pytest.raises(Denied), Coalition(hub.home("Reader", "viewer")) as viewer:
        enrol_witness(viewer, viewer.sign(Witness.of(us.hub, viewer.identity.id, key)))


def test_a_new_key_replaces_the_lost_one(hub: Hub, home: Home, client: Coalition) -> None:
    with attached(home, heard := Heard()) as old:
        heard.wait("cosigned", 2)
    (home.directory / "witness" / "key").unlink()
    with attached(home, heard := Heard()):
        heard.wait("cosigned", 3)
        until(lambda: standing(client).final == 3)
        assert [each.vkey for each in standing(client).witnesses] == [witness_key(home).public.encode()]
    assert witness_key(home) != old.key


def test_a_revoked_members_witness_is_dismissed_and_counts_no_more(hub: Hub, home: Home, client: Coalition) -> None:
    other = hub.home("University")
    with attached(home, Heard()), attached(other, Heard()):
        until(lambda: standing(client).quorum == 2 and standing(client).final == 4)
        with Coalition(hub.home("Core Team", "core")) as core:
            why = {"member": "university", "compromised_since": 4, "reason": "for a test"}
            claim = Revocation(hub=core.identity.hub, signer=core.identity.id, **why)
            core.change_keys(core.home.statement(claim))
        until(lambda: standing(client).final == standing(client).size)
        found = standing(client)
    assert [each.member for each in found.witnesses] == ["law-institute"]
    assert (found.quorum, found.counted) == (1, 1)


def test_a_witness_that_a_stolen_key_may_have_stated_is_stated_anew_by_itself(
    hub: Hub, home: Home, client: Coalition
) -> None:
    """The same witness key, under the member's new one."""
    with attached(home, heard := Heard()) as cosigner:
        stated = heard.wait("enrolled").size - 1
        heard.wait("cosigned", 2)
        keychain.revoke(client, "", stated, "stolen")
        heard.wait("enrolled", stated + 2)
        until(lambda: standing(client).final == standing(client).size)
        assert [each.vkey for each in standing(client).witnesses] == [cosigner.key.public.encode()]


@pytest.mark.parametrize(("changes", "words"), [({"role": "viewer"}, "viewer"), ({"delegation": "d-1"}, "delegate")])
def test_who_may_not_witness_is_told_and_does_not_try(
    hub: Hub, client: Coalition, changes: dict[str, str], words: str
) -> None:
    with pytest.raises(Denied, match=words):
        refuse_unfit(client.identity.model_copy(update=changes))
    with attached(hub.home("Reader", "viewer"), heard := Heard()):
        assert "viewer does not witness" in heard.wait("away").message
    assert [event.kind for event in heard.events] == ["away"]


def test_a_hub_that_lost_entries_is_told_so_and_gets_no_cosignature(hub: Hub, home: Home, client: Coalition) -> None:
    """What the witness remembers is more than the hub holds: the operator sees it, the member keeps his memory."""
    with attached(home, heard := Heard()):
        heard.wait("cosigned", 2)
        until(lambda: standing(client).final == 2)
    hub.base.log.append([b"an entry that will be lost"])
    lost = hub.base.log.note()
    origin = hub.base.log.head.origin
    Cosigner(home, Heard()).memory.remember(origin, lost)
    hub.stop()
    smaller = hub.base.directory / "ledger"
    keep = hub.base.log.witnessed()
    assert keep is not None
    for name in ("checkpoint", ".head"):
        (smaller / name).write_bytes(keep)
    hub.base.log.reload()
    hub.start()
    with attached(home, heard := Heard()), Coalition(home) as again:
        heard.wait("attached")
        until(lambda: "rolled back" in standing(again).witnesses[0].trouble)
        with hub.base.database.session() as session:
            assert Finality(hub.base.log).size(session) == 2
    latest = Cosigner(home, Heard()).memory.latest(origin)
    assert latest is not None
    assert latest.size == 3
