"""A member's first hour at a real hub, through the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contributors.client import Coalition as Client
from contributors.home import Home
from contributors.witness.attachment import attached
from contributors.witness.standing import standing
from tests.contributors.cli.conftest import Coalition
from tests.contributors.served import Hub, flip
from tests.contributors.witness.hearing import Heard, until
from trust.digests import Digest, hex_of
from trust.errors import Invalid, NotFound
from trust.keys import LogKey


@pytest.fixture
def law(hub: Hub, coalition: Coalition, tmp_path: Path) -> Path:
    """An enrolled home."""
    home = tmp_path / "law"
    said = coalition("enrol", "--hub", f"127.0.0.1:{hub.port}", "--token", hub.invite("Law Institute"), home=home)
    assert said.code == 0, said.err
    assert "Law Institute is a contributor of test-hub, as law-institute." in said.out
    return home


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "texts").mkdir()
    rows = ({"text": f"Contract number {i}"} for i in range(20))
    (tmp_path / "texts" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "texts" / "scan.pdf").write_bytes(b"%PDF")
    return tmp_path / "texts"


def submit(coalition: Coalition, home: Path, texts: Path) -> str:
    said = coalition(
        *("data", "submit", texts, "--name", "contracts", "--domain", "law", "--licence", "CC-BY-4.0", "--json"),
        home=home,
    )
    assert said.code == 0, said.err
    assert "scan.pdf" in said.err
    return str(said.json["id"])


def test_from_invitation_to_verified_receipt(hub: Hub, coalition: Coalition, law: Path, texts: Path) -> None:
    assert coalition("whoami", "--json", home=law).json["id"] == "law-institute"
    identifier = submit(coalition, law, texts)
    assert submit(coalition, law, texts) == identifier
    (listed,) = coalition("data", "list", "--json", home=law).json
    assert (listed["id"], listed["rows"], listed["state"]) == (identifier, 20, "accepted")
    assert "CC-BY-4.0" in coalition("data", "show", identifier, home=law).out
    assert "None yet" in coalition("suite", "list", home=law).out
    verdict = coalition("ledger", "verify", "--json", home=law).json
    assert (verdict["entries"], verdict["problems"]) == (2, [])
    hub.stop()
    kept = coalition("ledger", "receipt", identifier, "--offline", "--json", home=law)
    assert kept.json["entry"]["id"] == identifier
    assert coalition("ledger", "verify", "--store", hub.base.directory, home=law).code == 0
    hub.start()


def test_what_no_quorum_has_cosigned_is_not_called_accepted(
    hub: Hub, coalition: Coalition, law: Path, texts: Path
) -> None:
    with attached(Home(law), Heard()), Client(Home(law)) as client:
        until(lambda: standing(client).quorum == 1 and standing(client).final == standing(client).size)
    words = ("data", "submit", texts, "--name", "contracts", "--domain", "law", "--licence", "CC-BY-4.0")
    said = coalition(*words, home=law)
    assert said.code == 0, said.err
    assert "accepted" not in said.out
    assert "Pending: it is not final" in said.out
    shown = said.out.partition("this tells when: coalition ")[2].split()[:3]
    assert "pending" in coalition(*shown, home=law).out
    with attached(Home(law), Heard()), Client(Home(law)) as client:
        until(lambda: client.submission(shown[2]).state == "accepted")
    assert "is accepted" in coalition(*words, home=law).out


def test_private_data_is_declared_and_never_sent(hub: Hub, coalition: Coalition, law: Path, texts: Path) -> None:
    words = ("data", "submit", texts, "--name", "letters", "--domain", "law", "--licence", "CC-BY-4.0")
    said = coalition(*words, "--category", "sovereign", "--json", home=law)
    assert (said.code, "names the jurisdictions" in said.err) == (1, True)
    said = coalition(*words, "--category", "sovereign", "--jurisdiction", "NL", "--json", home=law)
    assert said.code == 0, said.err
    (file,) = said.json["files"]
    name = hex_of(Digest(file["digest"]))
    assert not (hub.base.directory / "blobs" / "sha256" / name[:2] / name).exists()
    (listed,) = coalition("data", "list", "--json", home=law).json
    assert (listed["category"], listed["jurisdiction"]) == ("sovereign", ["NL"])
    assert coalition("ledger", "verify", "--json", home=law).json["problems"] == []


def test_a_reward_policy_is_signed_shown_and_withdrawn(
    hub: Hub, coalition: Coalition, law: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "brief.json"
    shape = {"type": "object", "minItems": 1}
    rules = [{"name": "form", "check": {"how": "json_schema", "json_schema": shape}}]
    written = {"format": "coalition-reward/v1", "name": "brief", "description": "Brief and in form."}
    policy.write_text(json.dumps({**written, "rules": [{**rules[0], "code": "import os"}]}))
    refused = coalition("reward", "submit", policy, home=law)
    assert (refused.code, f"{policy}: rules.0.code: is not known here" in refused.err) == (1, True)
    policy.write_text(json.dumps({**written, "rules": rules}))
    said = coalition("reward", "submit", policy, home=law)
    assert said.code == 0, said.err
    (listed,) = coalition("reward", "list", "--json", home=law).json
    assert listed["payload"] in said.out
    assert listed["payload"] in coalition("reward", "list", home=law).out
    shown = coalition("reward", "show", listed["id"], "--json", home=law).json
    assert shown["digest"] == listed["payload"]
    assert shown["policy"]["rules"][0]["check"]["json_schema"]["minItems"] == 1
    assert coalition("ledger", "verify", "--json", home=law).json["problems"] == []
    withdrawn = coalition("reward", "withdraw", listed["id"], home=law)
    assert (withdrawn.code, "Its bytes" in withdrawn.out) == (0, False), withdrawn.err
    assert coalition("reward", "show", listed["id"], "--json", home=law).json["state"] == "withdrawn"


def test_what_is_withdrawn_is_marked_and_read_by_nobody(
    hub: Hub, coalition: Coalition, law: Path, texts: Path, tmp_path: Path
) -> None:
    identifier = submit(coalition, law, texts)
    university = tmp_path / "university"
    token = hub.invite("University")
    coalition("enrol", "--hub", f"127.0.0.1:{hub.port}", "--token", token, home=university)
    refused = coalition("data", "withdraw", identifier, home=university)
    assert (refused.code, "only its owner may withdraw it" in refused.err) == (1, True)
    said = coalition("data", "withdraw", identifier, "--reason", "consent was revoked", "--json", home=law)
    assert (said.code, said.json["reached"]) == (0, []), said.err
    shown = coalition("data", "show", identifier, "--json", home=university).json
    assert (shown["state"], shown["withdrawn_because"]) == ("withdrawn", "consent was revoked")
    words = ("--name", "contracts", "--domain", "law", "--licence", "CC-BY-4.0")
    again = coalition("data", "submit", texts, *words, home=law)
    assert (again.code, again.out) == (1, "")
    assert "was withdrawn at" in again.err
    with Client(Home(law)) as client, pytest.raises(NotFound, match=f"was withdrawn with {identifier}"):
        client.blob(shown["files"][0]["digest"])
    assert coalition("ledger", "verify", "--json", home=law).json["problems"] == []


@pytest.mark.parametrize(
    ("licence", "why"),
    [("CC-BY-NC-4.0", "does not take"), ("LicenseRef-Mine", "stands in no list"), ("Free", "not an SPDX")],
)
def test_a_licence_that_is_not_taken_is_refused_before_anything_is_packed(
    coalition: Coalition, law: Path, tmp_path: Path, licence: str, why: str
) -> None:
    nowhere = tmp_path / "nothing"
    said = coalition("data", "submit", nowhere, "--name", "x-y", "--domain", "law", "--licence", licence, home=law)
    assert (said.code, why in said.err) == (1, True)
    assert "-NC" in coalition("data", "policy", home=law).out


def test_croissant_is_derived_from_the_recorded_manifest(
    hub: Hub, coalition: Coalition, law: Path, texts: Path
) -> None:
    identifier = submit(coalition, law, texts)
    described = coalition("data", "show", identifier, "--croissant", home=law).json
    assert (described["identifier"], described["creator"]["name"]) == (identifier, "law-institute")
    assert described["conformsTo"] == "http://mlcommons.org/croissant/1.1"


def test_verify_fails_when_a_blob_was_changed_and_does_not_remember_that_head(
    hub: Hub, coalition: Coalition, law: Path, texts: Path
) -> None:
    identifier = submit(coalition, law, texts)
    digest = coalition("data", "show", identifier, "--json", home=law).json["files"][0]["digest"]
    name = hex_of(Digest(digest))
    flip(hub.base.directory / "blobs" / "sha256" / name[:2] / name, 0)
    asked = ("ledger", "verify")  # the hub hashes it again, and sets it aside
    for words, told in ((asked, "was changed"), ((*asked, "--store", hub.base.directory), "is missing")):
        said = coalition(*words, home=law)
        assert said.code == 1
        assert told in said.out
    assert not (law / "tree-head").exists()


def test_a_token_is_spent_once_and_a_home_enrolled_once(
    hub: Hub, coalition: Coalition, law: Path, tmp_path: Path
) -> None:
    token, address = hub.invite("University"), f"127.0.0.1:{hub.port}"
    assert coalition("enrol", "--hub", address, "--token", token, "--home", tmp_path / "uni", "--json").code == 0
    again = coalition("enrol", "--hub", address, "--token", token, home=tmp_path / "thief")
    assert (again.code, "used already" in again.err) == (1, True)
    assert "enrolled already" in coalition("enrol", "--hub", address, "--token", token, home=law).err


def test_names_of_others_do_not_command_the_terminal(hub: Hub, coalition: Coalition, law: Path, tmp_path: Path) -> None:
    for name in ("Evil \x1b[2J", "Evil \u202e"):
        with pytest.raises(Invalid, match="no printable character"):
            hub.invite(name)
    token = hub.invite("Evil [bold]Corp[/nothing]")
    said = coalition("enrol", "--hub", f"127.0.0.1:{hub.port}", "--token", token, home=tmp_path / "evil")
    assert said.code == 0
    assert "[bold]Corp[/nothing]" in said.out
    shown = coalition("whoami", home=tmp_path / "evil").out
    assert "[bold]Corp[/nothing]" in shown


def test_the_hubs_refusal_is_passed_on(hub: Hub, coalition: Coalition, law: Path) -> None:
    said = coalition("release", "cut", "tiny-1", "--version", "1.0", home=law)
    assert said.code == 1
    assert "A contributor may not cut releases. Ask the core team." in said.err


def test_a_hub_that_is_away_is_one_sentence(hub: Hub, coalition: Coalition, law: Path) -> None:
    hub.stop()
    said = coalition("data", "list", home=law)
    assert said.code == 1
    assert "cannot be reached" in said.err
    hub.start()


def test_stopping_something_with_an_impossible_name_is_refused_here(coalition: Coalition, law: Path) -> None:
    said = coalition("run", "cancel", "Not a name!", home=law)
    assert said.code == 1
    assert "target" in said.err


def test_a_copy_is_checked_by_anybody(hub: Hub, coalition: Coalition, law: Path, texts: Path, tmp_path: Path) -> None:
    """With no hub and no enrolment: by keys that somebody gave us, or by those in the mirror, which is then said."""
    submit(coalition, law, texts)
    note = hub.base.directory / "ledger" / "checkpoint"
    assert coalition("ledger", "mirror", tmp_path / "mirror", home=law).code == 0
    assert "no part of a mirror" in coalition("ledger", "mirror", texts, home=law).err
    for store in (("audit", "--mirror", tmp_path / "mirror"), ("verify", "--store", tmp_path / "mirror")):
        said = coalition("ledger", *store, "--json")
        assert (said.code, said.json["size"], said.json["keys_pinned"]) == (0, 2, False), said.err
        assert said.json["keys_fingerprint"] in coalition("ledger", *store).out
    assert coalition("ledger", "compare", note, "--store", tmp_path / "mirror").code == 0

    log_key, hub_key = hub.base.log.vkey, law / "keys" / "hub.pem"
    directory = hub.base.directory
    given = ("--key", log_key, "--hub-key", hub_key)
    said = coalition("ledger", "audit", "--store", directory, *given, "--json")
    assert (said.code, said.json["keys_pinned"]) == (0, True), said.err
    assert coalition("ledger", "compare", note, "--store", directory, "--key", log_key).code == 0
    for words in (("audit", "--store", directory), ("verify", "--store", directory, "--key", log_key)):
        said = coalition("ledger", *words)
        assert said.code == 1
        assert "No key of this ledger is known" in said.err.replace("\n", " ")
    stranger = LogKey.generate("test-hub").public.encode()
    assert coalition("ledger", "audit", "--mirror", tmp_path / "mirror", "--key", stranger).code == 1


def test_what_a_policy_without_witnesses_means_is_said(hub: Hub, coalition: Coalition, tmp_path: Path) -> None:
    core = hub.home("Core Team", "core").directory
    said = coalition("witness", "policy", "--quorum", "0", home=core)
    assert said.code == 0, said.err
    assert "nobody but the hub vouches" in said.out


def test_a_viewer_is_told_that_it_does_not_witness(hub: Hub, coalition: Coalition) -> None:
    """Instead of trying for ever."""
    said = coalition("witness", "start", home=hub.home("Reader", "viewer").directory)
    assert said.code == 1
    assert "a viewer does not witness" in said.err
