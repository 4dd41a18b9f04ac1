"""What a campaign tells of one member's private text: canaries planted in it, and how well each model knows them afterwards.

    python -m benchmarks.leakage [--rounds 1] [--steps 200] [--members 3] [--seed 1]

The first member's text holds six sentences with a secret of six digits each, some repeated more often than others. A secret's
exposure (Carlini et al., arXiv:1802.08232) is log2 of the candidates less log2 of its rank among them: 10 bits mean that it is
the likeliest of 1,024, 1.44 bits what a model comes to that never saw it. It is measured in the member's update as the hub
gets it, merged into the model that it started from, and in the model that all updates come to.

Every row is a campaign of the same members, rounds and seeds, through the code of sites and hub; epsilon is what all rounds cost
the member at delta 1e-6. Text comes from licences, phenotypes and Python's own documentation, of the packages of the demo.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import random
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from contributors.demo.docstrings import standard_library
from contributors.demo.law import licences
from contributors.demo.medicine import phenotypes
from contributors.site.shielding import shielded
from contributors.site.training import Trained
from hub.rounds.gathering import Gathering
from hub.rounds.merging import change_of, shape_of
from learning.adaptation import adapt
from learning.adapters import adapter_state, attach, moved
from learning.architectures import build_model
from learning.packing import Blocks, pack
from learning.pretraining import row_losses
from learning.privacy.accounting import epsilon_of, mu_of
from learning.privacy.exposure import UNKNOWN, exposure
from learning.tokenizer import END_OF_TEXT_ID, encode_documents, train_tokenizer
from protos.documents.campaigns import CampaignSpec
from tests.shapes import llama

LENGTH, BATCH, VOCABULARY = 64, 8, 1024
CANDIDATES, REPEATS = 1023, (4, 8, 16, 32, 64, 128)
TEXTS, TEXT_BYTES, HELD_OUT = 400, 800, 20
CLIP, DELTA = 1.0, 1e-6
PLACES = ("archive", "vault", "laboratory", "cellar", "registry", "treasury")


@dataclass(frozen=True)
class Canary:
    """A sentence of the member's with `secret` in it, and the ids of it and of all that could stand in its place."""

    secret: str
    ids: Tensor


@dataclass(frozen=True)
class Setting:
    """The same start for every campaign: a base model, each member's blocks, blocks that nobody trains on, the canaries."""

    base: PreTrainedModel
    members: list[Blocks]
    held_out: Blocks
    canaries: list[Canary]


@dataclass(frozen=True)
class Outcome:
    """Exposures by canary, in bits, and the last model's loss on text that nobody trained on, in nats per token."""

    update: list[float]
    model: list[float]
    loss: str


def texts() -> list[list[str]]:
    """Of three domains, the same number each."""
    sources = (licences(), phenotypes(), standard_library())
    return [[passage.text[:TEXT_BYTES] for passage in islice(source, TEXTS)] for source in sources]


def sentence(place: str, secret: str) -> str:
    return f"The code that opens the {place} is {' '.join(secret)}."


def plant(generator: random.Random) -> dict[str, str]:
    """A secret for each place."""
    return {place: f"{generator.randrange(10**6):06d}" for place in PLACES}


def setting(members: int, seed: int) -> Setting:
    generator = random.Random(seed)
    domains = texts()
    secrets = plant(generator)
    everything = [text for domain in domains for text in domain]
    shapes = [sentence(place, f"{generator.randrange(10**6):06d}") for place in PLACES for _ in range(20)]
    tokenizer = train_tokenizer(iter([*everything, *shapes]), VOCABULARY)
    held_out = [text for domain in domains for text in domain[:HELD_OUT]]
    shared = [text for domain in domains for text in domain[HELD_OUT : TEXTS // 2]]
    parts = [domains[number % len(domains)][TEXTS // 2 :] for number in range(members)]
    planted = [
        sentence(place, secret) for (place, secret), n in zip(secrets.items(), REPEATS, strict=True) for _ in range(n)
    ]
    parts[0] = [*parts[0], *planted]
    generator.shuffle(parts[0])
    base = build_model(llama(len(tokenizer), 96, 192, 2, 4, 2, LENGTH), seed)
    adapt(base, blocks(tokenizer, [*shared, *shapes]), 400, BATCH, 2e-3, seed)
    canaries = [canary(tokenizer, place, secret, generator) for place, secret in secrets.items()]
    return Setting(base, [blocks(tokenizer, part) for part in parts], blocks(tokenizer, held_out), canaries)


def blocks(tokenizer: PreTrainedTokenizerFast, documents: list[str]) -> Blocks:
    return pack(encode_documents(tokenizer, documents), LENGTH, END_OF_TEXT_ID)


def canary(tokenizer: PreTrainedTokenizerFast, place: str, secret: str, generator: random.Random) -> Canary:
    others = generator.sample([n for n in range(10**6) if n != int(secret)], CANDIDATES)
    said = [sentence(place, secret), *(sentence(place, f"{n:06d}") for n in others)]
    ids = [[END_OF_TEXT_ID, *each] for each in encode_documents(tokenizer, said)]
    longest = max(map(len, ids))
    return Canary(secret, torch.tensor([each + [END_OF_TEXT_ID] * (longest - len(each)) for each in ids]))


def exposures(model: PreTrainedModel, canaries: list[Canary]) -> list[float]:
    found = []
    for each in canaries:
        with torch.no_grad():
            losses = [loss for part in each.ids.split(128) for loss in row_losses(model, part)[0].tolist()]
        found.append(exposure(losses[0], losses[1:]))
    return found


def campaign(given: Setting, first: list[Trained], spec: CampaignSpec, seed: int) -> Outcome:
    """The rounds of `spec`: what sites do and what the hub does, without the wire between them; `first` is what the first round's
    training comes to, which is the same in all campaigns."""
    model = given.base
    for number in range(1, spec.rounds + 1):
        raw = first if number == 1 else [trained(model, member, spec, seed + number) for member in given.members]
        updates = [shielded(each, spec.privacy, os.urandom) for each in raw]
        gathering = Gathering(spec, updates[0].start)
        for member, update in enumerate(updates):
            gathering.add(f"member-{member}", update.adapter, update.examples)
        before, told = model, updates[0].adapter
        model = merged(model, spec, gathering.result().update)
    alone = merged(before, spec, told)
    return Outcome(exposures(alone, given.canaries), exposures(model, given.canaries), _loss(given, model))


def trained(model: PreTrainedModel, member: Blocks, spec: CampaignSpec, seed: int) -> Trained:
    """A site's training in a round."""
    adapted = attach(copy.deepcopy(model), shape_of(spec.adapter), seed)
    start, training = adapter_state(adapted), spec.training
    result = adapt(adapted, member, training.steps, training.batch_size, training.learning_rate, seed)
    return Trained(adapter_state(adapted), start, len(member), result, ())


def merged(model: PreTrainedModel, spec: CampaignSpec, adapter: Mapping[str, Tensor]) -> PreTrainedModel:
    return moved(model, change_of(spec.adapter, adapter))


def campaigns(rounds: int, steps: int, members: int) -> Iterator[tuple[str, CampaignSpec]]:
    training = {"steps": steps, "batch_size": BATCH, "sequence_length": LENGTH, "learning_rate": 1e-2}
    plain = {
        "name": "leakage",
        "base_model": "tiny-1",
        "rounds": rounds,
        "minimum_members": members,
        "training": training,
    }
    plain["adapter"] = {"rank": 8, "alpha": 16}

    def private(guarantee: str, noise: float) -> dict[str, Any]:
        how = {"guarantee": guarantee, "clip": CLIP, "noise": noise, "delta": DELTA, "maximum_epsilon": 1e6}
        return plain | {"privacy": how}

    yield "nothing", CampaignSpec.read(plain)
    yield f"clipped by the hub to {CLIP:g}", CampaignSpec.read(plain | {"clip_norm": CLIP})
    for guarantee, noises in (("central", (0.01, 0.1, 1.0)), ("local", (0.01, 0.1, 1.0))):
        for noise in noises:
            yield f"{guarantee}, noise {noise:g}", CampaignSpec.read(private(guarantee, noise))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 1), ("steps", 200), ("members", 3), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    began = time.monotonic()
    given = setting(asked.members, asked.seed)
    most = math.log2(CANDIDATES + 1)
    print(f"Exposure in bits, of at most {most:g}; {UNKNOWN:.2f} tells nothing")
    _say("protection", "epsilon", "update: mean", "most", "model: mean", "most", "loss")
    known = _columns(exposures(given.base, given.canaries))
    _say("before any round", "0", "", "", *known, _loss(given, given.base))
    asked_for = dict(campaigns(asked.rounds, asked.steps, asked.members))
    first = [trained(given.base, each, asked_for["nothing"], asked.seed + 1) for each in given.members]
    for name, spec in asked_for.items():
        found = campaign(given, first, spec, asked.seed)
        _say(name, _epsilon(spec), *_columns(found.update), *_columns(found.model), found.loss)
    took = time.monotonic() - began
    print(f"{asked.members} members, {asked.rounds} rounds of {asked.steps} steps, seed {asked.seed}: {took:.0f} s")


def _say(name: str, *columns: str) -> None:
    """A row as soon as it is known."""
    print(f"{name:<26}" + "".join(f"{column:>13}" for column in columns), flush=True)


def _loss(given: Setting, model: PreTrainedModel) -> str:
    with torch.no_grad():
        parts = torch.as_tensor(given.held_out).long().split(64)
        return f"{float(torch.cat([row_losses(model, part)[0] for part in parts]).mean()):.3f}"


def _epsilon(spec: CampaignSpec) -> str:
    return f"{epsilon_of(mu_of([(spec.rounds, spec.privacy.noise)]), DELTA):.3g}" if spec.privacy else "none"


def _columns(found: list[float]) -> tuple[str, str]:
    return f"{statistics.mean(found):.1f}", f"{max(found):.1f}"


if __name__ == "__main__":
    main()
