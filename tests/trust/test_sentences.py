"""How commands end: each in a real interpreter, because what counts is what a terminal shows and the exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from trust.sentences import counted


def program(body: str) -> list[str]:
    text = f"""
import sys
from trust.errors import Invalid
from trust.sentences import run_command

def command():
    {body}

def explain(error):
    return "The abacus jammed." if isinstance(error, ArithmeticError) else None

run_command(command, lambda sentence: print(sentence, file=sys.stderr), install="Install more.", explain=explain)
"""
    return [sys.executable, "-c", text]


def run(body: str, stdout: IO[str] | int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(program(body), stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("raise Invalid('It is wrong.', 'Mend it.')", "It is wrong. Mend it."),
        ("open('/nowhere/at/all')", "/nowhere/at/all: No such file or directory."),
        ("import abacus", "abacus is not installed. Install more."),
        ("raise TimeoutError", "The system: TimeoutError."),
        ("1 / 0", "The abacus jammed."),
    ],
)
def test_what_a_user_can_mend_is_one_sentence_and_ends_with_1(body: str, sentence: str) -> None:
    done = run(body)
    assert (done.returncode, done.stderr) == (1, f"{sentence}\n")


def test_our_own_mistakes_keep_their_traceback() -> None:
    done = run("raise KeyError('bug')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_ctrl_c_is_silent_and_ends_with_130() -> None:
    done = run("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    assert (done.returncode, done.stderr) == (130, "")


def test_a_full_disk_is_told_although_it_is_met_at_the_very_end() -> None:
    with Path("/dev/full").open("w") as full:
        done = run("print('x')", stdout=full)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No space left on device. Make room" in done.stderr


def test_a_reader_that_went_away_is_no_failure_to_tell_of() -> None:
    command = program("while True: print('x' * 1000)")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert (running.wait(60), running.stderr.read()) == (1, "")


def test_numbers_agree_with_their_nouns() -> None:
    assert [counted(n, "entry", "entries") for n in (0, 1, 2)] == ["0 entries", "1 entry", "2 entries"]
    assert counted(1, "blob") == "1 blob"
