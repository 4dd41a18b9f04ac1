"""Our contender of `benchmarks.rounds`: a SuperLink, the server app and real sites' processes; nothing is trained.

Everything else is as in a campaign: the model goes out, is checked and loaded, an adapter of as many bytes as the model is
attached and comes back, is checked, averaged and merged, and the next model is written to the disk.
`python -m benchmarks._federation HOME PORT` is a site's process.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from benchmarks._relay import Relay
from benchmarks._rounds import Ends, Peak, Rounds, named
from contributors.demo.parties import free_ports
from contributors.site.children import Child, die_with_parent
from contributors.site.clientapp import Answer, serve
from contributors.site.keys import site_key
from hub.rounds import children
from hub.rounds.plan import Event, Plan, Site, read_event, write_document
from hub.rounds.sites import read_public_key
from hub.rounds.superlink import SuperLink
from hub.settings import Settings
from hub.setup import create
from learning.adapters import AdapterShape, adapter_state, attach
from learning.export import load_model, save_model
from learning.shelf import Shelf
from learning.tokenizer import train_tokenizer
from learning.updates import save_tensors
from protos.documents.campaigns import CampaignSpec
from protos.documents.methods import Adapter, LocalTraining
from protos.documents.rounds import Learned, RoundReply, RoundTask
from protos.transport.memory import give_back
from trust.digests import digest_bytes
from trust.files import write_atomic, write_private

HIDDEN, INNER = 256, 512
LAYER = 4 * HIDDEN * HIDDEN + 3 * HIDDEN * INNER
RANK = LAYER // (8 * HIDDEN + 3 * (HIDDEN + INNER))  # an adapter of as many bytes as the layers
DATASET = "data-0123456789ab"
KINDS = {
    "SuperLink": "hub.rounds.superlink_process",
    "server app": "hub.rounds.serverapp",
    "SuperNodes": "contributors.site.supernode",
    "training processes": "benchmarks._federation",
}
STAGES = {
    "model loaded": "asks ",
    "updates taken": ", in ",
    "averaged": " weighs ",
    "merged and written": "updates averaged",
}
"""What the server app says last in each stage of a round."""


def spec(rounds: int, members: int) -> CampaignSpec:
    return CampaignSpec(
        name="rounds",
        base_model="bench-1",
        rounds=rounds,
        minimum_members=members,
        adapter=Adapter(rank=RANK, alpha=RANK),
        training=LocalTraining(steps=1, batch_size=1, sequence_length=16, learning_rate=0.1),
    )


def write_base(folder: Path, megabytes: float) -> None:
    """A random dense model of about so many bytes in fp32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = train_tokenizer(iter(["Members sign what they send."]), 280)
    config = LlamaConfig(
        vocab_size=280,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=max(1, round(megabytes * 1e6 / 4 / LAYER)),
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
    )
    save_model(LlamaForCausalLM(config), tokenizer, folder)


def run_rounds(folder: Path, megabytes: float, rounds: int, sites: int) -> Rounds:
    """So many rounds, all processes started for them and ended after them."""
    with laid_out(folder, megabytes, rounds, sites) as (campaign, relay):
        return lead(campaign, relay, sites)


@contextmanager
def laid_out(folder: Path, megabytes: float, rounds: int, sites: int) -> Iterator[tuple[Path, Relay]]:
    """A campaign's directory, and the relay through which its sites talk to the SuperLink: all run, but for the server app."""
    settings = create(folder / "hub", "bench", host="127.0.0.1", bind="127.0.0.1", port=free_ports(3))
    campaign = settings.campaigns_dir / "campaign-bench"
    write_base(campaign / "parent", megabytes)
    with superlink(settings) as link, Relay(free_ports(1), settings.superlink_port) as relay:
        parties, running = [], []
        for number in range(sites):
            home = folder / f"site-{number}"
            key = site_key(home)
            node = link.register(read_public_key(key.public_line))
            running += start_site(home, link.superlink.authority, relay.port, node)
            parties.append(Site(member=f"member-{number}", key=key.digest, datasets=(DATASET,)))
        plan = Plan(
            campaign="campaign-bench",
            spec=spec(rounds, sites),
            first_round=1,
            sites=tuple(parties),
            superlink=link.superlink.address,
            authority=link.superlink.authority_file,
            secret=link.superlink.secret_file,
        )
        write_document(campaign / "plan.json", plan)
        try:
            yield campaign, relay
        finally:
            for child in running:
                child.stop()


def lead(campaign: Path, relay: Relay, sites: int, counting: int | None = None) -> Rounds:
    """Run the server app as the hub does, and note when it has averaged each round, of so many counting updates (all)."""
    ends = Ends(lambda: relay.moved, KINDS)
    said: list[tuple[float, str]] = []
    with Peak(lambda: named("hub.rounds.")) as peak:
        for moment, event in events(campaign):
            said.append((moment, event.message))
            if event.metrics:
                assert event.message == f"{counting or sites} of {sites} updates averaged", event.message
                ends.note()
    return ends.rounds(peak.bytes, stages(said))


def events(campaign: Path) -> Iterator[tuple[float, Event]]:
    """What the server app says, and when (monotonic), from its start to its end."""
    with (campaign / "serverapp.log").open("wb") as log:
        app = subprocess.Popen(
            [sys.executable, "-m", "hub.rounds.serverapp", str(campaign)],
            stdout=subprocess.PIPE,
            stderr=log,
            env=children.environment(campaign / "flwr"),
        )
    assert app.stdout is not None
    failure = ""
    for line in app.stdout:
        event = read_event(line)
        failure = event.failure or failure
        yield time.monotonic(), event
    assert app.wait() == 0, failure or (campaign / "serverapp.log").read_text()[-3000:]


def stages(said: list[tuple[float, str]]) -> dict[str, float]:
    """Median seconds of what a round does one after the other, of when the server app said the last of it; without the first."""
    ended: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for moment, message in said:
        stage = next((stage for stage, words in STAGES.items() if words in message), None)
        if stage == next(iter(STAGES)):
            for moments in ended.values():
                moments.append(moment)
        elif stage is not None:
            ended[stage][-1] = moment
    begun, *others = ended.values()
    seconds = dict(zip(STAGES, _gaps([others[-1][:-1], begun[1:], *(each[1:] for each in others)]), strict=True))
    return {stage: statistics.median(values) for stage, values in seconds.items() if values}


def _gaps(moments: list[list[float]]) -> list[list[float]]:
    """From each list to the next: the differences, place by place."""
    return [[after - before for before, after in zip(*pair, strict=True)] for pair in pairwise(moments)]


class Link:
    """A SuperLink that is kept running by an event loop in a thread."""

    def __init__(self, superlink: SuperLink, loop: asyncio.AbstractEventLoop) -> None:
        self.superlink, self._loop = superlink, loop

    def register(self, public_key: bytes) -> int:
        return asyncio.run_coroutine_threadsafe(self.superlink.register(public_key), self._loop).result(120)


@contextmanager
def superlink(settings: Settings) -> Iterator[Link]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    link = SuperLink(settings)
    task = asyncio.run_coroutine_threadsafe(link.run(), loop)
    asyncio.run_coroutine_threadsafe(link.ready(), loop).result(120)
    try:
        yield Link(link, loop)
    finally:
        task.cancel()
        time.sleep(0.5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def start_site(home: Path, authority: bytes, port: int, node: int) -> list[Child]:
    """The SuperNode as sites run it, and a process that takes its tasks."""
    for folder in ("site", "tls"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    write_private(home / "site" / "secret", secrets.token_hex(32).encode())
    write_atomic(home / "tls" / "ca.crt", authority)
    local = str(free_ports(1))
    pair = [
        Child("supernode", ["contributors.site.supernode", str(home), f"127.0.0.1:{port}", local, str(node)], home),
        Child("clientapp", ["benchmarks._federation", str(home), local], home),
    ]
    for child in pair:
        child.tend()
    return pair


def answer(task: RoundTask, files: Mapping[str, bytes]) -> Answer:
    """What an honest site does, but for the training."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        shape = AdapterShape(task.spec.adapter.rank, task.spec.adapter.alpha, task.spec.adapter.targets)
        adapter = adapter_state(attach(load_model(Path(folder))[0], shape, task.seed), Shelf(Path(folder)))
    give_back(sum(map(len, files.values())))  # three sites are one machine's here
    for tensor in (
        adapter.values()
    ):  # no two sites learn the same, and no part of an update is like another: it would travel once
        tensor.add_(0.01 * random.random())
    update = save_tensors(adapter)
    said = {"campaign": task.campaign, "round": task.round, "task": task.digest, "update": digest_bytes(update)}
    return RoundReply.read({**said, "examples": 1, "tokens": 1, "data": (Learned(dataset=DATASET, tokens=1),)}), update


if __name__ == "__main__":
    die_with_parent()
    serve(int(sys.argv[2]), (Path(sys.argv[1]) / "site" / "secret").read_bytes(), answer)
