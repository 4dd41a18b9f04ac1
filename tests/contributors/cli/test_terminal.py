"""How listings look in a narrow terminal, and how many there can be."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from contributors.cli import terminal
from contributors.cli.terminal import print_messages, print_table
from protos.coalition.v1 import common_pb2

IDS = [f"data-{number:012x}" for number in range(3)]


@pytest.mark.parametrize("width", [80, 40, 20])
def test_what_a_user_copies_is_whole_on_one_line_and_nothing_is_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setattr(terminal.out, "width", width)
    name = "a-very-long-name-of-a-dataset-that-a-member-chose-for-whatever-reason"
    columns = ["*id", "name", "member", "domain", "licence", "category", "in", "state", ">size"]
    rows = [
        (i, name, "law-institute", "law", "CC-BY-4.0", "controlled", "NL, DE, FR", "accepted", "17.5 kB") for i in IDS
    ]
    print_table(columns, rows, "")
    printed = capsys.readouterr().out
    for identifier in IDS:
        assert any(identifier in line for line in printed.splitlines())
    assert "…" not in printed


def test_a_long_table_has_one_header_and_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []

    def rows() -> Iterator[tuple[int, str]]:
        for number in range(2 * terminal.PART + 1):
            seen.append(number)
            yield number, "x"

    print_table([">number", "what"], rows(), "")
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), lines[0].split()) == (len(seen) + 1, ["number", "what"])
    assert lines[-1].split() == [str(len(seen) - 1), "x"]


def test_messages_are_one_json_array_however_many(capsys: pytest.CaptureFixture[str]) -> None:
    for count in (0, 1, 3):
        print_messages(common_pb2.File(path=f"{n}\n", size=n) for n in range(count))
        assert [each["size"] for each in json.loads(capsys.readouterr().out)] == list(range(count))
