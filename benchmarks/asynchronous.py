"""What rounds come to in the same time when one member is slow: synchronous, with a deadline, and with a buffer of updates.

    python -m benchmarks.asynchronous [--seconds 20]

Three members take 0.2 s for a round's work and one takes 2 s. Each fits one linear layer to data of its own, by adapters of rank
4 that begin anew in every round, as campaigns' do. Rounds are led by the hub's own exchange; only Flower's grid is another, which
hands each answer over when its member's time is over. The figure is what all members' squared error has left of what it was, at
a quarter, half and the end of the time; beside it the slow member's own, and how many updates were used.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from rich.console import Console
from rich.table import Table
from torch import Tensor

from contributors.site.clientapp import files_of, read_task
from hub.rounds.exchange import Averaged, Round, message_content
from hub.rounds.parts import Part
from hub.rounds.plan import Site
from learning.aggregation.low_rank import products
from learning.updates import load_tensors, save_tensors
from protos.documents.base import FileEntry
from protos.documents.campaigns import CampaignSpec
from protos.documents.rounds import Learned, RoundReply, RoundTask
from trust.canonical import emit
from trust.digests import digest_bytes

WIDTH, RANK, ROWS, SCALE = 48, 4, 256, 2.0
STEPS, RATE = 20, 1e-2
FAST, SLOW, DEADLINE = 0.2, 2.0, 1  # seconds
MODEL, DATASET = "model.safetensors", "data-0123456789ab"
LONG = 3600
WAYS: dict[str, dict[str, Any]] = {
    "synchronous": {"patience": {"minimum_updates": 4, "seconds": LONG}},
    f"deadline of {DEADLINE} s": {"patience": {"minimum_updates": 3, "seconds": DEADLINE}},
    "buffer of 3": {"buffer": {"updates": 3, "most_late": 30}},
    "the same, late ones in full": {"buffer": {"updates": 3, "most_late": 30, "staleness": 0}},
}


@dataclass
class Member:
    """A site: how long a round's work takes it, the rows that it is given and wants, and until when it is at work."""

    name: str
    seconds: float
    given: Tensor
    wanted: Tensor
    until: float = 0.0

    def error(self, weight: Tensor) -> float:
        return float((self.given @ weight.T - self.wanted).square().mean())

    def answer(self, message: Message) -> RecordDict:
        task = read_task(message.content)
        weight = load_tensors(files_of(message.content, task)[MODEL])["weight"]
        update = save_tensors(self._trained(weight, start_of(task.round)))
        reply = RoundReply(
            campaign=task.campaign,
            round=task.round,
            task=task.digest,
            update=digest_bytes(update),
            examples=ROWS,
            tokens=ROWS,
            data=(Learned(dataset=DATASET, tokens=ROWS),),
        )
        return message_content("reply", emit(reply.model_dump(mode="json")), update)

    def _trained(self, weight: Tensor, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
        (a_name, a), (b_name, b) = ((name, start[name].clone().requires_grad_()) for name in sorted(start))
        optimizer = torch.optim.AdamW([a, b], lr=RATE, weight_decay=0.0, betas=(0.9, 0.95))
        for _ in range(STEPS):
            optimizer.zero_grad()
            (self.given @ (weight + SCALE * b @ a).T - self.wanted).square().mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return {a_name: a.detach(), b_name: b.detach()}


@dataclass
class Grid:
    """Where Flower's grid stands: members work at one task after the other, and an answer comes when its time has."""

    members: list[Member]
    due: dict[str, tuple[float, Member, Message]] = field(default_factory=dict)
    sent: int = 0

    def get_nodes(self) -> list[Any]:
        return [
            SimpleNamespace(node_id=number, public_key=member.name.encode(), last_activated_at="once")
            for number, member in enumerate(self.members, start=1)
        ]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        return [self._push(message) for message in messages]

    def _push(self, message: Message) -> str:
        member = self.members[message.metadata.dst_node_id - 1]
        member.until = max(time.monotonic(), member.until) + member.seconds
        self.sent += 1
        self.due[str(self.sent)] = member.until, member, message
        return str(self.sent)

    def pull_messages(self, identifiers: list[str]) -> list[Any]:
        soonest = min(self.due[each][0] for each in identifiers)
        time.sleep(min(1.0, max(0.0, soonest - time.monotonic())))
        now = time.monotonic()
        ripe = [each for each in identifiers if self.due[each][0] <= now]
        return [self._reply(each) for each in ripe]

    def _reply(self, identifier: str) -> Any:
        _, member, message = self.due.pop(identifier)
        return SimpleNamespace(
            metadata=SimpleNamespace(reply_to_message_id=identifier),
            has_error=lambda: False,
            content=member.answer(message),
        )


@dataclass
class Course:
    """Of one way: (seconds, all members' error, the slow one's) after each round, both of what they were; and updates used."""

    points: list[tuple[float, float, float]] = field(default_factory=list)
    used: int = 0
    slow: int = 0

    def at(self, seconds: float) -> tuple[float, float]:
        """The errors after the last round that was done by then."""
        return next((point[1:] for point in reversed(self.points) if point[0] <= seconds), (1.0, 1.0))

    def reached(self, error: float) -> float | None:
        """Seconds until all members' error was as small."""
        return next((seconds for seconds, found, _ in self.points if found <= error), None)


def start_of(number: int) -> dict[str, Tensor]:
    a = torch.rand(RANK, WIDTH, generator=torch.Generator().manual_seed(number))
    return {"x.lora_A.weight": (2 * a - 1) * (3 / WIDTH) ** 0.5, "x.lora_B.weight": torch.zeros(WIDTH, RANK)}


def members() -> list[Member]:
    """The same every time: layers that have most in common, and something of each member's own."""
    generator = torch.Generator().manual_seed(0)

    def low_rank(rank: int, size: float) -> Tensor:
        tall, wide = (torch.randn(shape, generator=generator) for shape in ((WIDTH, rank), (rank, WIDTH)))
        return size * tall @ wide / rank

    common, found = low_rank(12, 1.0), []
    for name, seconds in (("law", FAST), ("medicine", FAST), ("trade", FAST), ("slow", SLOW)):
        given = torch.randn(ROWS, WIDTH, generator=generator)
        found.append(Member(name, seconds, given, given @ (common + low_rank(4, 0.5)).T))
    return found


def led(way: Mapping[str, Any], seconds: float) -> Course:
    """Rounds until the time is over."""
    spec = CampaignSpec.read(
        {
            "name": "asynchronous",
            "base_model": "layer-1",
            "rounds": 10_000,
            "minimum_members": 4,
            "averaging": "products",
            "training": {"steps": STEPS, "batch_size": 1, "sequence_length": 16, "learning_rate": RATE},
            **way,
        }
    )
    grid = Grid(members())
    names = [each.name for each in grid.members]
    sites = {each: Site(member=each, key=digest_bytes(each.encode()), datasets=(DATASET,)) for each in names}
    weight = torch.zeros(WIDTH, WIDTH)
    before = [each.error(weight) for each in grid.members]
    course, afoot, began = Course(), dict[str, Part](), time.monotonic()
    for number in range(1, spec.rounds + 1):
        data = save_tensors({"weight": weight})
        entry = FileEntry(path=MODEL, digest=digest_bytes(data), size=len(data))
        task = RoundTask(campaign="campaign-a", round=number, spec=spec, files=(entry,))
        asked = Round(grid, task, {MODEL: data}, start_of(number), sites.get, lambda said: None, afoot=afoot)
        averaged = asked.run(sites.values())
        afoot = asked.afoot
        weight = weight + SCALE * products(averaged.adapter)["x"]
        took = time.monotonic() - began
        if took > seconds:
            break
        errors = [each.error(weight) / first for each, first in zip(grid.members, before, strict=True)]
        course.points.append((took, sum(errors) / len(errors), errors[-1]))
        _count(course, averaged)
    return course


def _count(course: Course, averaged: Averaged) -> None:
    used = [part.member for part in averaged.contributions if not part.excluded]
    course.used += len(used)
    course.slow += used.count("slow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    courses = {name: led(way, seconds) for name, way in WAYS.items()}
    peer = courses["synchronous"].at(seconds)[0]
    times = (seconds / 4, seconds / 2, seconds)
    headings = [f"{each:g} s" for each in times]
    table = Table("", *headings, "slow one's", "rounds", "updates", "slow one's", "as far as synchronous in")
    table.title = "squared error left after so long, %; updates used"
    for name, course in courses.items():
        errors = [f"{100 * course.at(each)[0]:.1f}" for each in times]
        reached = course.reached(peer)
        ratio = f"{reached / seconds:.2f} of the time" if reached else "never"
        last = f"{100 * course.at(seconds)[1]:.1f}"
        table.add_row(name, *errors, last, str(len(course.points)), str(course.used), str(course.slow), ratio)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
