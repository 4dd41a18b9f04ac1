"""A member's site that answers every task with an update full of NaN: `python hostile.py HOME CAMPAIGN DATASET`."""

from __future__ import annotations

import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from contributors.client import Coalition
from contributors.home import Home
from contributors.signers import Signers
from contributors.site.children import Child
from contributors.site.clientapp import Answer, serve
from contributors.site.consent import consent
from contributors.site.keys import register, site_key
from contributors.site.run import _free_port
from learning.adapters import AdapterShape, adapter_state, attach
from learning.export import load_model
from learning.updates import save_tensors
from protos.documents.rounds import Learned, RoundReply, RoundTask
from trust.digests import digest_bytes


def poison(task: RoundTask, files: Mapping[str, bytes], dataset: str) -> Answer:
    """The right names and shapes, a reply in good order, and no number in it."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        model, _ = load_model(Path(folder))
    adapter = task.spec.adapter
    state = adapter_state(attach(model, AdapterShape(adapter.rank, adapter.alpha, adapter.targets), task.seed))
    update = save_tensors({name: torch.full_like(tensor, torch.nan) for name, tensor in state.items()})
    said = {"campaign": task.campaign, "round": task.round, "task": task.digest, "update": digest_bytes(update)}
    learned = Learned(dataset=dataset, tokens=1)
    return RoundReply.read({**said, "examples": 10**6, "tokens": 1, "data": (learned,)}), update


def keep(supernode: Child) -> None:
    """It ends when a message was lost to it, and is started afresh, as a site does."""
    while True:
        supernode.tend()
        time.sleep(1)


def main(home: Path, campaign: str, dataset: str) -> None:
    (home / "site").mkdir(exist_ok=True)
    secret = secrets.token_hex(32).encode()
    (home / "site" / "secret").write_bytes(secret)
    port = _free_port()
    with Coalition(Home(home)) as hub:
        registered = register(hub, site_key(home))
        arguments = ["contributors.site.supernode", str(home), registered.superlink, str(port), str(registered.node)]
        supernode = Child("supernode", arguments, home)
        threading.Thread(target=keep, args=[supernode], daemon=True).start()
        consent(Signers(hub), campaign)
        serve(port, secret, lambda task, files: poison(task, files, dataset))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
