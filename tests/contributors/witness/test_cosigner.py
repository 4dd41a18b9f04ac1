"""A member's witness: what it cosigned it never takes back, whatever it is asked and however it is asked."""

from __future__ import annotations

import fcntl
import http.client
import resource
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from contributors.home import Home
from contributors.witness import memory
from contributors.witness.cosigner import Cosigner, Event
from contributors.witness.listening import listening
from protos.coalition.v1 import common_pb2
from protos.transport.channel import Credentials
from protos.transport.enrolment import Enrolled
from tests.trust.histories import KEY, Tree, forked, tree
from trust import merkle
from trust.cosignatures import cosignatures, with_cosignatures
from trust.errors import Conflict, Denied, Problem, Unavailable
from trust.forks import Fork, verify_fork
from trust.keys import ArtifactKey, LogKey
from trust.witnessing import SIZE_TYPE, AddCheckpoint

NOW = 1_700_000_000


def enrolled_home(directory: Path, key: LogKey, member: str) -> Home:
    """Enrolled at a hub whose log key we hold."""
    home = Home(directory)
    home.artifact_key()
    enrolled = Enrolled(
        id=member,
        organisation=member.title(),
        role="contributor",
        hub=key.name,
        ledger_key=key.public.encode(),
        receipt=common_pb2.Receipt(),
        statement_key=ArtifactKey.generate().public.pem(),
        credentials=Credentials(b"ca", b"certificate", b"key"),
    )
    home.save_enrolment(enrolled, "127.0.0.1:9")
    return home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return enrolled_home(tmp_path / "home", KEY, "law")


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def cosigner(home: Home, events: list[Event]) -> Cosigner:
    return Cosigner(home, events.append, clock=lambda: NOW)


def grown(cosigner: Cosigner, history: Tree, old: int, new: int) -> None:
    answer = cosigner.answer(history.request(old, new))
    assert answer.status == 200
    (found,) = cosignatures(with_cosignatures(history.note(new), [answer.body]), [cosigner.key.public])
    assert found.time == NOW


def test_the_key_is_made_once_and_is_for_its_owners_eyes(cosigner: Cosigner, home: Home) -> None:
    path = home.directory / "witness" / "key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert cosigner.key.name == "europe/law"
    assert Cosigner(home, lambda event: None).key == cosigner.key
    path.chmod(0o644)
    with pytest.raises(Denied, match="can be read by others"):
        Cosigner(home, lambda event: None)


def test_it_cosigns_what_grows_and_remembers_it_across_restarts(cosigner: Cosigner, home: Home) -> None:
    grown(cosigner, tree(20), 0, 5)
    again = Cosigner(home, lambda event: None, clock=lambda: NOW)
    assert again.answer(tree(20).request(0, 9)).body == b"5\n"
    grown(again, tree(20), 5, 9)


def test_nothing_leaves_before_it_is_on_the_disk(cosigner: Cosigner, events: list[Event]) -> None:
    grown(cosigner, tree(20), 0, 5)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            cosigner.answer(tree(20).request(5, 9))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [event.kind for event in events] == ["cosigned"]
    latest = cosigner.memory.latest("europe")
    assert latest is not None
    assert latest.size == 5


def test_a_memory_that_was_changed_is_not_believed(cosigner: Cosigner) -> None:
    grown(cosigner, tree(20), 0, 5)
    (path,) = cosigner.memory.folder.glob("*.checkpoint")
    path.write_bytes(path.read_bytes().replace(b"\n5\n", b"\n4\n"))
    with pytest.raises(Problem):
        cosigner.answer(tree(20).request(4, 9))


def test_two_histories_of_one_size_are_kept_as_a_proof_for_anyone(cosigner: Cosigner, events: list[Event]) -> None:
    grown(cosigner, tree(20), 0, 5)
    assert cosigner.answer(forked(20, 3).request(5, 5)).status == 409
    assert events[-1].kind == "fork"
    smaller, larger = verify_fork(Fork.decode(Path(events[-1].path).read_bytes()), KEY.public)
    assert (smaller.size, larger.size) == (5, 5)
    grown(cosigner, tree(20), 5, 6)  # the history that it knows goes on


@pytest.mark.parametrize("old", [3, 4, 7, 8, 13])
def test_a_rewritten_history_is_proven_from_the_request_or_from_the_logs_own_tiles(
    cosigner: Cosigner, events: list[Event], old: int
) -> None:
    grown(cosigner, tree(20), 0, old)
    other = forked(20, 1)
    assert cosigner.answer(other.request(old, 16), lambda size: other.node).status == 422
    assert events[-1].kind == "fork"
    verify_fork(Fork.decode(Path(events[-1].path).read_bytes()), KEY.public)


def test_a_proof_that_leads_nowhere_is_refused_and_both_heads_are_kept(cosigner: Cosigner, events: list[Event]) -> None:
    grown(cosigner, tree(20), 0, 5)
    body = AddCheckpoint(5, (bytes(32),) * 4, forked(20, 3).note(9)).encode()
    assert cosigner.answer(body).status == 422
    assert events[-1].kind == "suspect"
    kept = Fork.decode(Path(events[-1].path).read_bytes())
    assert (kept.smaller, kept.larger) == (tree(20).note(5), forked(20, 3).note(9))
    path = tuple(merkle.prefix_path(5, 9, forked(20, 3).node))  # whoever has the entries completes it
    verify_fork(Fork(kept.smaller, kept.larger, path), KEY.public)


@pytest.mark.parametrize("old", [0, 3, 9])
def test_a_smaller_head_of_another_history_is_proven_from_the_logs_own_tiles(
    cosigner: Cosigner, events: list[Event], old: int
) -> None:
    grown(cosigner, tree(20), 0, 9)
    body = AddCheckpoint(old, (), forked(20, 1).note(5)).encode()
    assert cosigner.answer(body, lambda size: tree(20).node).status in (400, 409)
    assert events[-1].kind == "fork"
    smaller, larger = verify_fork(Fork.decode(Path(events[-1].path).read_bytes()), KEY.public)
    assert (smaller.size, larger.size) == (5, 9)


def test_a_smaller_head_that_nobody_explains_is_kept_beside_the_last_one(
    cosigner: Cosigner, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not without end: whoever reaches the witness may show it every head that there ever was."""
    monkeypatch.setattr(memory, "MAX_SUSPECTS", 2)
    grown(cosigner, tree(20), 0, 9)
    for size in (5, 6, 7):
        assert cosigner.answer(AddCheckpoint(0, (), forked(20, 1).note(size)).encode()).status == 409
    assert [event.kind for event in events[1:]] == ["suspect"] * 3
    kept = Fork.decode(Path(events[1].path).read_bytes())
    assert (kept.smaller, kept.larger) == (forked(20, 1).note(5), tree(20).note(9))
    assert events[3].path == ""
    body = AddCheckpoint(0, (), forked(20, 1).note(8)).encode()
    cosigner.answer(body, lambda size: tree(20).node)
    assert events[-1].kind == "fork"  # a proof is always kept


def test_an_older_head_of_the_same_history_is_no_misbehaviour(cosigner: Cosigner, events: list[Event]) -> None:
    grown(cosigner, tree(20), 0, 9)
    assert cosigner.answer(AddCheckpoint(0, (), tree(20).note(5)).encode(), lambda size: tree(20).node).status == 409
    assert events[-1].kind == "refused"
    assert not list(cosigner.memory.folder.glob("*/*.json"))


def test_a_first_request_with_a_proof_is_422(cosigner: Cosigner, events: list[Event]) -> None:
    """From nothing there is nothing to prove; and nothing that it could contradict."""
    body = AddCheckpoint(0, (bytes(32),), tree(20).note(9)).encode()
    assert cosigner.answer(body, lambda size: tree(20).node).status == 422
    assert [event.kind for event in events] == ["refused"]
    grown(cosigner, tree(20), 0, 9)


def test_it_signs_before_anybody_else_may_ask(home: Home) -> None:
    """Else a cosignature could say, later than that of a larger head, that it knows none."""

    def clock() -> float:
        with (home.directory / "witness" / "lock").open("w") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return NOW

    grown(Cosigner(home, lambda event: None, clock), tree(20), 0, 5)


def test_requests_at_once_are_taken_one_after_the_other(cosigner: Cosigner, home: Home) -> None:
    """The race of the specification: a slower, smaller request must not put the record back."""
    history, answers = tree(40), []
    others = [Cosigner(home, lambda event: None) for _ in range(4)]

    def ask(witness: Cosigner) -> None:
        for size in range(1, 41):
            known = witness.memory.latest("europe")
            old = known.size if known else 0
            answer = witness.answer(history.request(min(old, size), size))
            if answer.status == 200:
                answers.append(size)

    threads = [threading.Thread(target=ask, args=(witness,)) for witness in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latest = cosigner.memory.latest("europe")
    assert latest is not None
    assert latest.size == max(answers) == 40


def test_one_runs_per_home(cosigner: Cosigner, home: Home) -> None:
    with cosigner.memory.alone(), pytest.raises(Conflict), Cosigner(home, lambda event: None).memory.alone():
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_over_plain_http_it_answers_as_the_specification_says(cosigner: Cosigner) -> None:
    with listening(cosigner, f"127.0.0.1:{free_port()}") as port:
        connection = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=10
        )  # one connection for all: it is kept alive

        def post(body: bytes, path: str = "/add-checkpoint") -> tuple[int, bytes, str | None]:
            connection.request("POST", path, body)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers["Content-Type"]

        status, line, _ = post(tree(20).request(0, 5))
        assert status == 200
        assert cosignatures(with_cosignatures(tree(20).note(5), [line]), [cosigner.key.public])
        assert post(tree(20).request(0, 9)) == (409, b"5\n", SIZE_TYPE)
        assert post(b"old x\n\n")[0] == 400
        assert post(tree(20).request(5, 9), "/")[0] == 404
        assert post(b"x" * (1 << 18))[0] == 413
        with pytest.raises(Unavailable, match="cannot be listened on"), listening(cosigner, f"127.0.0.1:{port}"):
            pass


def test_a_silent_or_wordy_stranger_holds_nothing_up(cosigner: Cosigner) -> None:
    with listening(cosigner, f"127.0.0.1:{free_port()}") as port:
        with socket.create_connection(("127.0.0.1", port)) as silent:
            silent.sendall(b"POST /add-checkpoint HTTP/1.1\r\n")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("POST", "/add-checkpoint", tree(3).request(0, 3))
            assert connection.getresponse().status == 200
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.putrequest("POST", "/add-checkpoint")
        connection.endheaders()
        assert connection.getresponse().status == 411


def test_events_are_lines_for_programs(events: list[Event], cosigner: Cosigner) -> None:
    grown(cosigner, tree(20), 0, 5)
    told: Callable[[], dict[str, object]] = events[-1].as_dict
    assert told() == {"kind": "cosigned", "size": 5, "message": "", "path": ""}
