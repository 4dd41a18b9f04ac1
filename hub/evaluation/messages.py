"""What the hub and its evaluation worker say to each other: one JSON object a line, in closed schemas."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from protos.documents.base import Document, Identifier

TaskPrefix = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,80}/[a-z0-9-]{1,80}@[0-9a-f]{12}$")]


class Part(Document):
    """One file of a suite: its name, and how many bytes of what was handed over are its own."""

    path: str
    size: int = Field(ge=0)


class Job(Document):
    """A model under a suite. The suite's bytes come as an open file beside this line, one part after the other."""

    model: Identifier
    folder: str
    suite: Identifier
    name: TaskPrefix
    parts: tuple[Part, ...] = Field(min_length=1, max_length=100)
    seconds: int = Field(ge=0)
    demands: tuple[str, ...]


class Start(Document):
    """What the worker is told when it is started."""

    marker: str
    network: str
    memory: int = Field(ge=1)


class Standing(Document):
    """The layers of the sandbox that stood when the worker tried them, before it imports anything large."""

    layers: tuple[str, ...]


class Ready(Document):
    """What the worker computes with."""

    harness: str
    cuda: bool = False


class Ended(Document):
    """A job is over: `size` bytes of its output follow. `why` says how it was cut short."""

    suite: Identifier
    size: int = Field(ge=0)
    why: str = ""


class Conclusion(Document):
    """The last line of a job's output, after its samples."""

    failure: str = Field(default="", max_length=2000)
