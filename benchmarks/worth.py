"""Whether training together is worth it: held-out perplexity by domain of a campaign's model, and of what members have without.

    python -m benchmarks.worth [--seeds 3] [--rounds 3] [--steps 40] [--batch 4] [--averaging factors]

The members are those of the demo, with the text that each of them keeps: licences, phenotypes and diagnoses, docstrings of two
kinds. For each seed a base model is trained on a little of the text that they submit, and then are compared, on the tenth of the
documents that nobody trains on:

- **base**: no rounds
- **NAME alone**: the same rounds with that member alone
- **campaign**: the rounds of all members
- **pooled**: the same rounds with one member who has all the text and takes as many rows a step as all of them together. No
  coalition may do this; it is the limit.

Everything goes through the code of sites and hub. A share of the pooled gain is that of nats per token below the base. Figures
are means over the seeds with their standard deviation.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from benchmarks._campaigns import after_round, blocks, trained
from benchmarks._measure import spread
from contributors.demo.passages import split, within
from contributors.demo.prepare import DOMAINS, PRIVATE_BYTES
from learning.adaptation import adapt
from learning.architectures import build_model
from learning.packing import Blocks
from learning.pretraining import row_losses
from learning.tokenizer import train_tokenizer
from protos.documents.campaigns import CampaignSpec
from tests.shapes import llama

LENGTH, VOCABULARY = 128, 1024
BASE_STEPS, BASE_BATCH, BASE_RATE, BASE_BYTES = 150, 16, 2e-3, 400_000
HELD_OUT_ROWS = 64
BASE, CAMPAIGN, POOLED = "base", "campaign", "pooled"

Losses = Mapping[str, float]
"""By domain: nats per held-out token."""


@dataclass(frozen=True)
class Texts:
    """Of every domain: documents for the base model, a member's private ones, held-out ones."""

    submitted: dict[str, list[str]]
    private: dict[str, list[str]]
    held_out: dict[str, list[str]]


def texts() -> Texts:
    """As the demo splits them, with less for the base model."""
    found = Texts({}, {}, {})
    for domain in DOMAINS:
        parts = split(document for _, read, _, _ in domain.sources for document in read())
        found.submitted[domain.name] = [each.text for each in within(parts["submitted"], BASE_BYTES)]
        found.private[domain.name] = [each.text for each in within(parts["private"], PRIVATE_BYTES)]
        found.held_out[domain.name] = [each.text for each in parts["held-out"]]
    return found


class Comparison:
    """Of one seed: a base model, and what becomes of it in each way."""

    def __init__(self, given: Texts, tokenizer: PreTrainedTokenizerFast, spec: CampaignSpec, seed: int) -> None:
        self._spec, self._seed = spec, seed
        self._private = {name: blocks(tokenizer, found, LENGTH) for name, found in given.private.items()}
        self._held_out = {
            name: blocks(tokenizer, found, LENGTH)[:HELD_OUT_ROWS] for name, found in given.held_out.items()
        }
        self._base = build_model(llama(len(tokenizer), 96, 256, 3, 4, 2, LENGTH), seed)
        shared = blocks(tokenizer, list(chain(*given.submitted.values())), LENGTH)
        adapt(self._base, shared, BASE_STEPS, BASE_BATCH, BASE_RATE, seed)

    def losses(self) -> dict[str, Losses]:
        """Of every way, by its name."""
        everything = {POOLED: np.concatenate(list(self._private.values()))}
        found = {BASE: self._measured(self._base)}
        for name, own in self._private.items():
            found[alone(name)] = self._after({name: own}, self._spec)
        found[CAMPAIGN] = self._after(self._private, self._spec)
        found[POOLED] = self._after(everything, with_rows_of(self._spec, len(self._private)))
        return found

    def _after(self, members: Mapping[str, Blocks], spec: CampaignSpec) -> Losses:
        """The rounds of these members."""
        model: PreTrainedModel = self._base
        for number in range(1, spec.rounds + 1):
            seed = 1000 * self._seed + number
            model = after_round(model, spec, {name: trained(model, own, spec, seed) for name, own in members.items()})
        return self._measured(model)

    def _measured(self, model: PreTrainedModel) -> Losses:
        with torch.no_grad():
            return {
                name: float(row_losses(model, torch.as_tensor(rows).long())[0].mean())
                for name, rows in self._held_out.items()
            }


def alone(member: str) -> str:
    return f"{member} alone"


def with_rows_of(spec: CampaignSpec, members: int) -> CampaignSpec:
    """The same spec with as many rows a step as so many members have together."""
    training = spec.training.model_copy(update={"batch_size": spec.training.batch_size * members})
    return spec.model_copy(update={"training": training})


def mean(losses: Losses) -> float:
    return statistics.mean(losses.values())


def share(base: float, found: float, limit: float) -> float:
    """How much of the limit's gain over the base was reached."""
    return (base - found) / (base - limit)


def shares(found: Mapping[str, Losses], domains: Sequence[str]) -> dict[str, list[float]]:
    """By the way, what it reached in each domain and, last, in their mean."""

    def of(way: str) -> list[float]:
        each = [share(found[BASE][name], found[way][name], found[POOLED][name]) for name in domains]
        return [*each, share(mean(found[BASE]), mean(found[way]), mean(found[POOLED]))]

    return {way: of(way) for way in (*map(alone, domains), CAMPAIGN)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("seeds", 3), ("rounds", 3), ("steps", 40), ("batch", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--averaging", default="factors", choices=("factors", "products"))
    asked = parser.parse_args()
    began = time.monotonic()
    spec = CampaignSpec.read(
        {
            "name": "worth",
            "base_model": "tiny-1",
            "rounds": asked.rounds,
            "minimum_members": 1,
            "averaging": asked.averaging,
            "adapter": {"rank": 32, "alpha": 64},
            "training": {
                "steps": asked.steps,
                "batch_size": asked.batch,
                "sequence_length": LENGTH,
                "learning_rate": 1e-3,
            },
        }
    )
    given = texts()
    tokenizer = train_tokenizer(chain(*given.submitted.values()), VOCABULARY)
    found = []
    for seed in range(1, asked.seeds + 1):
        found.append(Comparison(given, tokenizer, spec, seed).losses())
        print(f"seed {seed}: {time.monotonic() - began:.0f} s", flush=True)
    show(found, list(given.private))
    tokens = asked.rounds * asked.steps * asked.batch * LENGTH
    print(f"{asked.rounds} rounds of {asked.steps} steps, {tokens:,} tokens a member, {asked.seeds} seeds:", end=" ")
    print(f"{time.monotonic() - began:.0f} s")


def show(found: Sequence[Mapping[str, Losses]], domains: Sequence[str]) -> None:
    print("\nPerplexity of held-out text")
    _row("", *domains, "mean")
    for way in found[0]:
        by_seed = [[*(math.exp(each[way][name]) for name in domains), math.exp(mean(each[way]))] for each in found]
        _row(way, *(spread(column, 1) for column in zip(*by_seed, strict=True)))
    print("\nShare of the pooled gain, percent")
    _row("", *domains, "mean")
    reached = [shares(each, domains) for each in found]
    for way in reached[0]:
        columns = zip(*(each[way] for each in reached), strict=True)
        _row(way, *(spread([100 * part for part in column], 0) for column in columns))


def _row(name: str, *columns: str) -> None:
    print(f"{name:<16}" + "".join(f"{column:>16}" for column in columns))


if __name__ == "__main__":
    main()
