"""A row that holds a task: a `prompt` as a text, and beside it what a reward policy's rules ask for, such as a `target`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protos.formats import preferences
from trust.errors import Invalid

FIELD = "prompt"
MAX_PROMPT = 1 << 16  # characters


def is_task(row: Mapping[str, Any]) -> bool:
    """A preference has a prompt too, of messages."""
    return FIELD in row and preferences.FIELD not in row


def prompt_of(row: Mapping[str, Any], place: str) -> str:
    """Raises `Invalid`, naming the place and never quoting."""
    prompt = row[FIELD]
    if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > MAX_PROMPT:
        raise Invalid(f"{place}: `{FIELD}` is not a text of at most {MAX_PROMPT} characters.")
    return prompt
