"""A row that holds a conversation: `messages`, each with a `role` and its `content`, as most tools write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trust.errors import Invalid

FIELD = "messages"
ROLES = ("system", "user", "assistant")
MAX_MESSAGES = 1000
Message = tuple[str, str]
"""Role and content."""


def messages_of(row: Mapping[str, Any], place: str) -> tuple[Message, ...]:
    """(role, content) of every message; the assistant has at least one. Raises `Invalid`, naming the place and never quoting."""
    found = messages_in(row[FIELD], FIELD, place)
    if not any(role == "assistant" for role, _ in found):
        raise Invalid(f"{place}: the assistant says nothing.", "Leave the conversation out.")
    return found


def messages_in(value: Any, name: str, place: str) -> tuple[Message, ...]:
    """The messages that a field holds. Raises `Invalid`, naming the place and never quoting."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_MESSAGES:
        raise Invalid(f"{place}: `{name}` is not a list of 1 to {MAX_MESSAGES} messages.")
    return tuple(_message(message, place) for message in value)


def text_of_conversation(row: Mapping[str, Any], place: str) -> str:
    """What was said, without the roles: the row's text for all who ask for texts. Raises as `messages_of`."""
    return "\n\n".join(content for _, content in messages_of(row, place))


def _message(message: Any, place: str) -> Message:
    if not isinstance(message, dict) or message.keys() != {"role", "content"}:
        raise Invalid(f"{place}: a message has other fields than `role` and `content`.", "Leave them out.")
    role, content = message["role"], message["content"]
    if role not in ROLES:
        raise Invalid(f"{place}: a message's role is none of {', '.join(ROLES)}.")
    if not isinstance(content, str) or not content.strip():
        raise Invalid(f"{place}: a message has no content.")
    return role, content
