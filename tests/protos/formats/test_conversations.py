"""Conversations, preferences and tasks in JSON Lines: rows as most tools write them, and texts for whoever asks for texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protos.formats.conversations import messages_of
from protos.formats.preferences import preference_of
from protos.formats.tasks import MAX_PROMPT, is_task
from protos.formats.texts import submitted_rows, text_rows
from trust.errors import Invalid

GOOD = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "The member."}]


def _file(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    (tmp_path / "a").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return tmp_path / "a"


def test_a_conversation_is_read_with_what_was_said_as_its_text(tmp_path: Path) -> None:
    ((place, row),) = text_rows(_file(tmp_path, {"messages": GOOD}), "a.jsonl")
    assert row["text"] == "Who?\n\nThe member."
    assert messages_of(row, place) == (("user", "Who?"), ("assistant", "The member."))
    ((_, both),) = text_rows(_file(tmp_path, {"messages": "x", "text": "Its own."}), "a.jsonl")
    assert both["text"] == "Its own."


@pytest.mark.parametrize(
    "messages",
    [
        "Who?",
        [],
        GOOD[:1],
        [*GOOD, {"role": "tool", "content": "secret"}],
        [*GOOD, {"role": ["user"], "content": "secret"}],
        [*GOOD, {"role": "user", "content": " "}],
        [*GOOD, {"role": "user", "content": 7}],
        [*GOOD, {"role": "user", "content": "secret", "name": "secret"}],
        [*GOOD, "secret"],
        GOOD * 501,
    ],
)
def test_what_is_no_conversation_is_named_and_never_quoted(tmp_path: Path, messages: Any) -> None:
    path = _file(tmp_path, {"text": "fine"}, {"messages": messages})
    with pytest.raises(Invalid, match=r"a\.jsonl, line 2") as caught:
        list(text_rows(path, "a.jsonl"))
    assert "secret" not in str(caught.value)


def test_what_is_submitted_holds_texts_alone(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="messages"):
        list(submitted_rows(_file(tmp_path, {"messages": GOOD}), "a.jsonl"))


PREFERENCE = {"prompt": GOOD[:1], "chosen": "The member.", "rejected": [{"role": "assistant", "content": "Nobody."}]}


def test_a_preference_is_read_with_the_chosen_answer_as_its_text(tmp_path: Path) -> None:
    ((place, row),) = text_rows(_file(tmp_path, PREFERENCE | {"score_chosen": 7, "score_rejected": 4.5}), "a.jsonl")
    assert row["text"] == "Who?\n\nThe member."
    found = preference_of(row, place)
    assert (found.prompt, found.chosen, found.rejected) == ((("user", "Who?"),), "The member.", "Nobody.")
    assert found.better == 2.5
    assert preference_of(PREFERENCE, place).better is None


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "secret"},
        {"rejected": ""},
        {"rejected": None},
        {"rejected": "The member."},
        {"rejected": GOOD},
        {"chosen": GOOD[:1]},
        {"score_chosen": 1},
        {"score_chosen": 1, "score_rejected": 2},
        {"score_chosen": "secret", "score_rejected": 2},
        {"score_chosen": True, "score_rejected": False},
    ],
)
def test_what_is_no_preference_is_named_and_never_quoted(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=r"a\.jsonl, line 1") as caught:
        list(text_rows(_file(tmp_path, PREFERENCE | change), "a.jsonl"))
    assert "secret" not in str(caught.value)


def test_a_task_is_its_prompt_to_whoever_asks_for_texts(tmp_path: Path) -> None:
    """What is right stays out of the text."""
    task = {"prompt": "How many?", "target": "secret", "number": 7}
    ((_, row),) = text_rows(_file(tmp_path, task), "a.jsonl")
    assert (row["text"], is_task(row), is_task(PREFERENCE), is_task({"text": "x"})) == ("How many?", True, False, False)
    for prompt in ("", " ", None, ["secret"], "secret" * MAX_PROMPT):
        with pytest.raises(Invalid, match=r"a\.jsonl, line 1: `prompt` is not a text") as caught:
            list(text_rows(_file(tmp_path, task | {"prompt": prompt}), "a.jsonl"))
        assert "secret" not in str(caught.value)
