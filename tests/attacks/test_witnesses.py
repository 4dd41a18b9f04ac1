"""Attacks on what the ledger says was, and on those who watch it: rewriting, two faces, absent witnesses, wrong clocks."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contributors.audit import audit
from contributors.client import Coalition
from contributors.demo.parties import BIN, Party, free_ports
from contributors.home import Home
from contributors.rewriting import explained
from contributors.sources import HubSource
from contributors.trusted import Trusted
from contributors.witness.attachment import attached
from contributors.witness.cosigner import Cosigner
from contributors.witness.standing import standing
from hub.ledger.log import Log
from hub.settings import Settings
from protos.documents.witnesses import EnrolledWitness, quorum
from tests.contributors.conftest import base, client, database, database_url, home, hub  # noqa: F401  (fixtures)
from tests.contributors.served import Hub
from tests.contributors.witness.hearing import Heard, until
from tests.contributors.witness.test_attachment import submit
from tests.contributors.witness.test_cosigner import enrolled_home
from tests.dashboards.history import History
from tests.system import conftest as system
from trust.cosignatures import with_cosignatures
from trust.errors import Corrupt
from trust.forks import Fork, verify_fork
from trust.keys import LogKey
from trust.witnessing import AddCheckpoint


def rewrite(base: Any, index: int) -> None:  # noqa: F811
    """What an operator with the log's key can do: change one entry and sign the whole history anew."""
    entries = list(base.log.reader().entries(0, base.log.size))
    changed = json.loads(entries[index])
    changed["time"] = "2020-01-01T00:00:00.000Z"
    entries[index] = json.dumps(changed, separators=(",", ":"), sort_keys=True).encode()
    shutil.rmtree(base.directory / "ledger")
    Log(base.directory / "ledger", base.log_key).append(entries)
    base.log.reload()


def test_attack_04_the_operator_rewrites_an_entry(hub: Hub, home: Home, tmp_path: Path) -> None:  # noqa: F811
    """The hub's operator changes a past entry and signs the new history. No witness cosigns it: each keeps a proof that anyone
    can verify, nothing more becomes final, and clients that saw the old head refuse the new one.
    """
    with Coalition(home) as member, attached(home, heard := Heard()):
        submit(member, tmp_path)
        heard.wait("cosigned", 3)
        until(lambda: standing(member).final == 3)
        verified = audit(home, HubSource(member), Trusted.of(home))
        home.remember_head(verified.verdict.note)
        home.remember_leaves(verified.verdict.leaves)
    hub.stop()
    rewrite(hub.base, 1)
    hub.start()
    with Coalition(home) as member, attached(home, heard := Heard()):
        fork = Path(heard.wait("fork").path)
        verify_fork(Fork.decode(fork.read_bytes()), home.ledger_key())
        submit(member, tmp_path)
        heard.wait("fork", 4)
        until(lambda: standing(member).witnesses[0].trouble != "")
        assert standing(member).final < 4
        assert standing(member).witnesses[0].size < 4
        with pytest.raises(Corrupt) as caught:
            audit(home, HubSource(member), Trusted.of(home))
        assert "Entry 1 is not what it was" in explained(home, HubSource(member), caught.value).what


def test_attack_05_two_faces(tmp_path: Path) -> None:
    """The hub shows one history to some members and another to others. No majority cosigns both heads, because two majorities
    share a witness; and the first witness that sees the other head has the proof.
    """
    key = LogKey.generate("europe")
    logs = [Log(tmp_path / "one", key), Log(tmp_path / "two", key)]
    for number, log in enumerate(logs):
        log.append([b"the same", f"face {number}".encode()])
    notes = [log.note() for log in logs]
    heard = [Heard() for _ in range(4)]
    witnesses = [_witness(tmp_path / f"home-{number}", key, heard[number]) for number in range(4)]
    enrolled = [EnrolledWitness(0, str(n), "contributor", each.key.public) for n, each in enumerate(witnesses)]
    needed = quorum(enrolled, [], 2)
    lines: list[list[bytes]] = [[], []]
    for number, witness in enumerate(witnesses):
        face = number % 2
        lines[face].append(witness.answer(AddCheckpoint(0, (), notes[face]).encode()).body)
    for face in (0, 1):  # and now each sees the other face
        assert not needed.met_by(with_cosignatures(notes[face], lines[face]))
    for number, witness in enumerate(witnesses):
        other = notes[1 - number % 2]
        answer = witness.answer(AddCheckpoint(2, (), other).encode())
        assert (answer.status, answer.body) == (409, b"2\n")
        proof = Fork.decode(Path(heard[number].wait("fork").path).read_bytes())
        assert {head.root for head in verify_fork(proof, key.public)} == {log.head.root for log in logs}


def _witness(directory: Path, key: LogKey, heard: Heard) -> Cosigner:
    return Cosigner(enrolled_home(directory, key, directory.name), heard)


@dataclass
class Witnessed(system.Coalition):
    """A real hub and three members who can witness. `past` holds what the ledger began with."""

    past: History | None = None

    def witness(self, name: str) -> None:
        if f"witness-{name}" in self.running:
            return
        command = [BIN / "coalition", "witness", "start", "--json"]
        self.start(f"witness-{name}", command, COALITION_HOME=str(self.members[name].home))

    def standing(self) -> dict[str, Any]:
        return dict(self.core.coalition("witness", "status"))

    def settled(self) -> bool:
        found = self.standing()
        return bool(found["final"] == found["size"] and found["quorum"] > 0)

    def data(self, member: str, word: str) -> str:
        """Submit a little text; what the hub calls it."""
        file = self.directory / f"{word}.txt"
        file.write_text(f"A text that is called {word}, and says little else than {word}.")
        described = ("--name", word, "--domain", "law", "--licence", "CC-BY-4.0", "--provenance", "written for a test")
        return str(self.members[member].coalition("data", "submit", file, *described)["id"])

    def state(self, submission: str) -> str:
        return str(self.core.coalition("data", "show", submission)["state"])

    def board(self) -> dict[str, Any]:
        return dict(self.core.coalition("leaderboard"))

    def score(self, domain: str) -> None:
        """Another suite and a model's score in it, recorded while the hub is down."""
        assert self.past is not None
        history = History(Settings.load(self.hub))
        history.keys, history.payloads = self.past.keys, self.past.payloads
        history.evaluate("tiny-1", history.suite("author", domain), 1)
        history.close()


NAMES = ("law-institute", "university", "clinic")


@pytest.fixture(scope="module")
def coalition(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witnessed]:
    """A model with a score is in the ledger; nobody witnesses yet."""
    tmp_path = tmp_path_factory.mktemp("witnessed")
    parties = {name: Party(name, tmp_path / name / "home") for name in NAMES}
    found = Witnessed(tmp_path, free_ports(3), Party("core", tmp_path / "core" / "home"), parties)
    found.hub_command("init", found.hub, "--name", "small-coalition", "--port", found.port)
    found.past = History(Settings.load(found.hub))
    found.past.enrol("core-team", "core")
    found.past.enrol("author", "contributor")
    found.past.run({"author": found.past.dataset("author", "law")})
    found.past.evaluate("tiny-1", found.past.suite("author", "law"), 0)
    found.past.close()
    try:
        found.start_hub()
        found.enrol(found.core, "Operators", "core")
        for name, party in parties.items():
            found.enrol(party, name, "contributor")
        yield found
    finally:
        found.stop()


@pytest.mark.system
def test_attack_33_too_few_witnesses(coalition: Witnessed) -> None:
    """Witnesses are down. What is submitted is recorded and pending, the leaderboard stays as it was; when they are back,
    everything becomes final with nobody doing anything.
    """
    for name in NAMES:
        coalition.witness(name)
    coalition.wait("a quorum of two of three", lambda: coalition.settled() and coalition.standing()["quorum"] == 2)
    before = coalition.board()
    assert (len(before["columns"]), before["pending"]) == (2, 0)
    coalition.kill("witness-university")
    coalition.kill("witness-clinic")
    coalition.kill("hub")
    coalition.score("medicine")
    coalition.start_hub()
    submitted = coalition.data("law-institute", "alone")
    coalition.wait(
        "one cosignature", lambda: any(w["size"] > before["ledger_size"] for w in coalition.standing()["witnesses"])
    )
    assert coalition.state(submitted) == "pending"
    during = coalition.board()
    assert (during["columns"], during["rows"], during["ledger_size"]) == (
        before["columns"],
        before["rows"],
        before["ledger_size"],
    )
    assert during["pending"] == 1
    coalition.start("witness-clinic")
    coalition.wait("the second witness", lambda: coalition.state(submitted) == "accepted")
    after = coalition.board()
    assert (len(after["columns"]), after["pending"]) == (4, 0)
    receipt = coalition.members["university"].coalition("ledger", "receipt", submitted)
    assert receipt["final"] is True
    assert receipt["cosigned_by"] == ["clinic", "law-institute"]
    audited = coalition.members["university"].coalition("ledger", "audit")
    assert (audited["first"], audited["problems"], audited["final"]) == (None, [], audited["size"])
    assert len(audited["leaderboard"]) == 4


@pytest.mark.system
def test_attack_34_a_witness_from_a_backup(coalition: Witnessed) -> None:
    """A witness's home comes back from an old backup: it has forgotten what it cosigned since. It cosigns no smaller and no
    inconsistent tree for that, answers 409 or 422, and catches up by proof.
    """
    member = coalition.members["law-institute"]
    folder, backup = member.home / "witness", coalition.directory / "backup"
    for name in NAMES:
        coalition.witness(name)
    coalition.wait("the first quorum", coalition.settled)
    small = coalition.standing()["size"]
    shutil.copytree(folder, backup)
    coalition.data("university", "later")
    coalition.wait("the next quorum", coalition.settled)
    coalition.kill("witness-law-institute")
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)

    old = Cosigner(Home(member.home), heard := Heard())
    known = old.memory.latest("small-coalition")
    assert known is not None
    assert known.size == small
    log = Log(coalition.hub / "ledger", LogKey.load(Settings.load(coalition.hub).log_key))
    smaller = Log(coalition.directory / "smaller", LogKey.load(Settings.load(coalition.hub).log_key))
    smaller.append(list(log.reader().entries(0, small - 1)))
    for claimed in (0, small - 1):  # a smaller tree, whatever is claimed of the past
        assert old.answer(AddCheckpoint(claimed, (), smaller.note()).encode()).status == 409
    assert old.answer(AddCheckpoint(small, (), smaller.note()).encode()).status == 400
    smaller.append([b"another", b"history"])
    proof = tuple(smaller.reader().consistency(small))
    assert old.answer(AddCheckpoint(small, proof, smaller.note()).encode()).status == 422
    assert {event.kind for event in heard.events} <= {"refused", "suspect", "fork"}
    latest = old.memory.latest("small-coalition")
    assert latest == known

    coalition.start("witness-law-institute")
    coalition.data("clinic", "latest")
    size = coalition.standing()["size"]

    def caught_up() -> bool:
        latest = old.memory.latest("small-coalition")
        return latest is not None and latest.size == size

    coalition.wait("the witness to catch up", caught_up)


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (-1, (datetime.now(UTC) - timedelta(days=1)).isoformat()),
        (1, (datetime.now(UTC) + timedelta(days=1)).isoformat()),
        (0, "2016-12-31T23:59:60Z"),  # a leap second
        (0, "2026-10-25T02:30:00+02:00"),  # an hour that comes twice
    ],
    ids=["behind", "ahead", "leap-second", "daylight-saving"],
)
def test_attack_35_clocks_that_are_wrong(hub: Hub, home: Home, tmp_path: Path, days: int, said: str) -> None:  # noqa: F811
    """A member's and its witness's clocks are a day off, or daylight saving or a leap second is in a time. Order is the
    ledger's index and nothing else, so all of it counts; a cosignature says its own time and is not judged by it.
    """
    shift = 86_400 * days
    with Coalition(home) as member, attached(home, heard := Heard(), clock=lambda: time.time() + shift):
        heard.wait("attached")
        identifiers = [submit(member, tmp_path, issued_at=said), submit(member, tmp_path)]
        until(lambda: {member.submission(each).state for each in identifiers} == {"accepted"})
        assert [entry.id for entry in member.entries()][2:] == identifiers
        (shown,) = standing(member).witnesses
        assert abs(datetime.fromisoformat(shown.time).timestamp() - time.time() - shift) < 40_000
