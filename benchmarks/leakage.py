"""What a campaign tells of one member's private text: canaries planted in it, and how well each model knows them afterwards.

    python -m benchmarks.leakage [--rounds 1] [--steps 200] [--members 3] [--seeds 3]

The first member's text holds six sentences with a secret of six digits each, some repeated more often than others. A secret's
exposure (Carlini et al., arXiv:1802.08232) is log2 of the candidates less log2 of its rank among them: 10 bits mean that it is
the likeliest of 1,024, 1.44 bits what a model comes to that never saw it. It is measured in the member's update as the hub
gets it, merged into the model that it started from, and in the model that all updates come to.

Every row is a campaign of the same members and rounds, through the code of sites and hub, once for each seed: of secrets, base
model, adapters and batches. Figures are means over the seeds with their standard deviation, "most" of each seed's best known
secret; epsilon is what all rounds cost the member at delta 1e-6. Text comes from licences, phenotypes and Python's own
documentation, of the packages of the demo.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from benchmarks._campaigns import after_round, blocks, merged, trained
from benchmarks._measure import spread
from contributors.demo.docstrings import standard_library
from contributors.demo.law import licences
from contributors.demo.medicine import phenotypes
from contributors.site.shielding import shielded
from contributors.site.training import Trained
from learning.adaptation import adapt
from learning.aggregation.robust import clipped
from learning.architectures import build_model
from learning.packing import Blocks
from learning.pretraining import row_losses
from learning.privacy.accounting import epsilon_of, mu_of
from learning.privacy.exposure import UNKNOWN, exposure
from learning.privacy.ring import Ring
from learning.tokenizer import END_OF_TEXT_ID, encode_documents, train_tokenizer
from protos.documents.campaigns import CampaignSpec
from tests.hub.rounds.masked import NAMES, Dance
from tests.shapes import llama

Update = dict[str, Tensor]
LENGTH, BATCH, VOCABULARY = 64, 8, 1024
CANDIDATES, REPEATS = 1023, (4, 8, 16, 32, 64, 128)
TEXTS, TEXT_BYTES, HELD_OUT = 400, 800, 20
CLIP, DELTA = 1.0, 1e-6
BEFORE = "before any round"
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
    loss: float


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
    adapt(base, blocks(tokenizer, [*shared, *shapes], LENGTH), 400, BATCH, 2e-3, seed)
    canaries = [canary(tokenizer, place, secret, generator) for place, secret in secrets.items()]
    return Setting(
        base, [blocks(tokenizer, part, LENGTH) for part in parts], blocks(tokenizer, held_out, LENGTH), canaries
    )


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
        if spec.masks is not None:
            told, mean = summed(updates, spec)
            after = merged(model, spec, mean)
        else:
            told = updates[0].adapter
            after = after_round(model, spec, {f"member-{member}": update for member, update in enumerate(updates)})
        before, model = model, after
    alone = merged(before, spec, told)
    return Outcome(exposures(alone, given.canaries), exposures(model, given.canaries), _loss(given, model))


def summed(updates: list[Trained], spec: CampaignSpec) -> tuple[Update, Update]:
    """What the hub gets of the first member, read as if it were an update, and the mean that comes out of the sum."""
    names, start = NAMES[: len(updates)], updates[0].start
    ring = Ring(spec.largest_value, len(names))
    dance = Dance(len(names))
    dance.give_keys(names)
    dance.share(names)
    bounded = [clipped(each.adapter, start, CLIP)[0] for each in updates]
    dance.mask({name: ring.encode(update, start) for name, update in zip(names, bounded, strict=True)})
    total = dance.unmask(dance.open(names, dance.sign(names)))
    return _by(start, ring.mean(dance.masked[names[0]], 1, start)), _by(start, ring.mean(total, len(names), start))


def _by(start: Mapping[str, Tensor], change: Mapping[str, Tensor]) -> Update:
    return {name: (tensor.double() + change[name]).float() for name, tensor in start.items()}


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
    yield f"masked, clipped to {CLIP:g}", CampaignSpec.read(plain | {"clip_norm": CLIP, "masks": {"colluding": 0}})
    for guarantee, noises in (("central", (0.01, 0.1, 1.0)), ("local", (0.01, 0.1, 1.0))):
        for noise in noises:
            yield f"{guarantee}, noise {noise:g}", CampaignSpec.read(private(guarantee, noise))


def outcomes(specs: Mapping[str, CampaignSpec], members: int, seed: int) -> dict[str, Outcome]:
    """Of one seed: what every campaign comes to, and what the base knew before."""
    given = setting(members, seed)
    known = exposures(given.base, given.canaries)
    found = {BEFORE: Outcome(known, known, _loss(given, given.base))}
    first = [trained(given.base, each, specs["nothing"], seed + 1) for each in given.members]
    return found | {name: campaign(given, first, spec, seed) for name, spec in specs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 1), ("steps", 200), ("members", 3), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    began = time.monotonic()
    specs = dict(campaigns(asked.rounds, asked.steps, asked.members))
    found = []
    for seed in range(1, asked.seeds + 1):
        found.append(outcomes(specs, asked.members, seed))
        print(f"seed {seed}: {time.monotonic() - began:.0f} s", flush=True)
    print(f"Exposure in bits, of at most {math.log2(CANDIDATES + 1):g}; {UNKNOWN:.2f} tells nothing")
    _say("protection", "epsilon", "update: mean", "most", "model: mean", "most", "loss")
    for name in found[0]:
        each = [by_seed[name] for by_seed in found]
        update, model = (_columns([getattr(one, which) for one in each]) for which in ("update", "model"))
        epsilon = _epsilon(specs[name]) if name in specs else "0"
        _say(name, epsilon, *update, *model, spread([one.loss for one in each], 3))
    took = time.monotonic() - began
    print(f"{asked.members} members, {asked.rounds} rounds of {asked.steps} steps, {asked.seeds} seeds: {took:.0f} s")


def _say(name: str, *columns: str) -> None:
    print(f"{name:<26}" + "".join(f"{column:>15}" for column in columns))


def _loss(given: Setting, model: PreTrainedModel) -> float:
    with torch.no_grad():
        parts = torch.as_tensor(given.held_out).long().split(64)
        return float(torch.cat([row_losses(model, part)[0] for part in parts]).mean())


def _epsilon(spec: CampaignSpec) -> str:
    return f"{epsilon_of(mu_of([(spec.rounds, spec.privacy.noise)]), DELTA):.3g}" if spec.privacy else "none"


def _columns(found: Sequence[Sequence[float]]) -> tuple[str, str]:
    """Of each seed's exposures: the mean, and the most."""
    return spread([statistics.mean(each) for each in found], 1), spread([max(each) for each in found], 1)


if __name__ == "__main__":
    main()
