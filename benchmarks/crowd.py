"""A hundred sites in a round of which a fifth drop out: the SuperLink and the server app as in a campaign, nothing trained.

    python -m benchmarks.crowd [--sites 100] [--dropping 0.2] [--megabytes 1] [--rounds 3] [--deadline 60]

Sites are Flower's own connections to the SuperLink, each with its key and over TLS, as threads of one process: what a hundred
machines would ask of the server. Of those that drop out, half go offline with the task in their hands, in every round, and half
keep it and say nothing. So a round lasts until its deadline; when the last update was taken says how long it had to. A round of
three sites, none of which drops out, stands beside it for what a site more costs the server.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_utils import (
    inflate_object_from_contents,
    iterate_object_tree,
    pull_objects,
    push_objects,
)
from flwr.supernode.fleet_http_connection import http_request_response
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import _federation
from benchmarks._relay import Relay
from benchmarks._rounds import Rounds
from contributors.demo.parties import free_ports
from contributors.site.clientapp import files_of, message_content, read_task
from contributors.site.keys import SiteKey, site_key
from hub.rounds.plan import Plan, Site, write_document
from hub.rounds.sites import read_public_key
from hub.setup import create
from learning.adapters import AdapterShape, adapter_state, attach
from learning.export import load_model
from learning.updates import save_tensors
from protos.documents.methods import Patience
from protos.documents.rounds import Learned, RoundReply, RoundTask
from trust.canonical import emit
from trust.digests import digest_bytes
from trust.keys import read_secret_file

PAUSE = 0.2  # seconds between two looks of a site, where the SuperLink answered at once


class Crowd:
    """Sites that answer every task at once, or drop out as soon as they have it."""

    def __init__(self, address: str, authority: bytes) -> None:
        self._address, self._authority = address, authority
        self._over, self._lock = threading.Event(), threading.Lock()
        self._starts: dict[str, dict[str, Tensor]] = {}

    @contextmanager
    def site(self, key: SiteKey, way: str) -> Iterator[None]:
        thread = threading.Thread(target=self._live, args=(key, way), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(60)

    def _live(self, key: SiteKey, way: str) -> None:
        private = load_ssh_private_key(read_secret_file(key.private_path), None)
        keys: Any = (private, private.public_key())
        while not self._over.is_set():
            with http_request_response(self._address, False, self._authority, keys) as connection:
                gone = False
                while not gone and not self._over.wait(PAUSE):
                    gone = self._look(connection, way)

    def _look(self, connection: Any, way: str) -> bool:
        """Take in the message that waits for a site, if there is one, and answer; whether the site goes offline then."""
        _, receive, send, _, _, pull, push, confirm = connection
        if (found := receive()) is None:
            return False
        run, root = found[0].metadata.run_id, found[0].metadata.message_id
        names = [each.object_id for each in iterate_object_tree(found[1])]
        contents = pull_objects(names, lambda name: pull(run, name), initial_backoff=0.05, backoff_cap=2.0)
        confirm(run, root)
        if way == "answers":
            message = cast(Message, inflate_object_from_contents(root, contents))
            message.metadata.__dict__["_message_id"] = root  # as Flower's SuperNode does
            reply = self._answer(message)
            missing, session = send(reply, get_object_tree(reply), 0.0)
            parts = get_all_nested_objects(reply)
            push_objects(parts, lambda name, data: push(run, session, name, data), object_ids_to_push=missing)
        return way == "goes offline"

    def _answer(self, message: Message) -> Message:
        task = read_task(message.content)
        adapter = {name: tensor.clone() for name, tensor in self._start(message, task).items()}
        for tensor in adapter.values():  # no part of an update is like another, or it would travel once
            tensor.add_(0.01 * random.random())
        update = save_tensors(adapter)
        said = {"campaign": task.campaign, "round": task.round, "task": task.digest, "update": digest_bytes(update)}
        data = (Learned(dataset=_federation.DATASET, tokens=1),)
        document = RoundReply.read({**said, "examples": 1, "tokens": 1, "data": data})
        reply = Message(message_content("reply", emit(document.model_dump(mode="json")), update), reply_to=message)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        return reply

    def _start(self, message: Message, task: RoundTask) -> dict[str, Tensor]:
        """What all sites start from: attached once for all."""
        with self._lock:
            if task.digest not in self._starts:
                with tempfile.TemporaryDirectory() as folder:
                    for name, content in files_of(message.content, task).items():
                        (Path(folder) / name).write_bytes(content)
                    model, _ = load_model(Path(folder))
                shape = AdapterShape(task.spec.adapter.rank, task.spec.adapter.alpha, task.spec.adapter.targets)
                self._starts = {task.digest: adapter_state(attach(model, shape, task.seed))}
            return self._starts[task.digest]


def run_rounds(folder: Path, megabytes: float, rounds: int, sites: int, dropping: int, deadline: float) -> Rounds:
    """So many rounds, the server's processes started for them and ended after them."""
    settings = create(folder / "hub", "bench", host="127.0.0.1", bind="127.0.0.1", port=free_ports(3))
    campaign = settings.campaigns_dir / "campaign-bench"
    _federation.write_base(campaign / "parent", megabytes)
    with ExitStack() as running:
        link = running.enter_context(_federation.superlink(settings))
        relay = running.enter_context(Relay(free_ports(1), settings.superlink_port))
        crowd, parties = Crowd(f"127.0.0.1:{relay.port}", link.superlink.authority), []
        for number in range(sites):
            key = site_key(folder / f"site-{number}")
            link.register(read_public_key(key.public_line))
            parties.append(Site(member=f"member-{number}", key=key.digest, datasets=(_federation.DATASET,)))
            way = ("goes offline", "says nothing")[number % 2] if number < dropping else "answers"
            running.enter_context(crowd.site(key, way))
        patience = Patience(seconds=deadline, minimum_updates=sites - dropping)
        plan = Plan(
            campaign="campaign-bench",
            spec=_federation.spec(rounds, sites).model_copy(update={"patience": patience}),
            first_round=1,
            sites=tuple(parties),
            superlink=link.superlink.address,
            authority=link.superlink.authority_file,
            secret=link.superlink.secret_file,
        )
        write_document(campaign / "plan.json", plan)
        return _federation.lead(campaign, relay, sites, sites - dropping)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sites", type=int, default=100)
    parser.add_argument("--dropping", type=float, default=0.2)
    parser.add_argument("--megabytes", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--deadline", type=float, default=60)
    given = parser.parse_args()
    dropping = round(given.sites * given.dropping)
    table = Table("", "updates taken in s", "round s", "server processor s", "MB moved", "server MB")
    for sites, missing in ((3, 0), (given.sites, dropping)):
        with tempfile.TemporaryDirectory(prefix="crowd-", ignore_cleanup_errors=True) as folder:
            found = run_rounds(Path(folder), given.megabytes, given.rounds, sites, missing, given.deadline)
        server = found.parts["SuperLink"] + found.parts["server app"]
        figures = (found.stages["updates taken"], found.median, server, found.moved / 1e6)
        name = f"{sites} sites, {missing} drop out"
        table.add_row(name, *(f"{value:.2f}" for value in figures), f"{found.peak / 1e6:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
