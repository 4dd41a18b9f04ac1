"""What a sum under masks costs: bytes that travel and seconds of processor, beside the plain mean of the same updates.

    python -m benchmarks.masks [--values 2500000] [--members 3 6] [--repeats 5]

Sites and hub of one round in one process, without training and without the wire: what each site does with its update, all that
travels, and what the hub does with it. Plain is a safetensors file that is hashed, read, checked and averaged. One of the members
drops out after its shares in every second sum, which is where the hub works most. Interleaved; medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from hub.rounds.unmasking import Unmasking
from learning.aggregation.means import RunningMean
from learning.privacy.ring import Ring, size_of
from learning.updates import check_update, load_tensors, save_tensors
from protos.documents.masking import GiveShares, Masks
from tests.hub.rounds.masked import NAMES, Dance
from trust.canonical import emit
from trust.digests import digest_bytes

Update = dict[str, Tensor]


def plain(updates: Mapping[str, Update], reference: Update) -> tuple[float, float, int]:
    """Seconds of a site, seconds of the hub, bytes of a site."""
    began = time.perf_counter()
    sent = {name: save_tensors(update) for name, update in updates.items()}
    for data in sent.values():
        digest_bytes(data)
    packed = time.perf_counter()
    mean = RunningMean(reference)
    for data in sent.values():
        digest_bytes(data)
        update = load_tensors(data)
        check_update(update, reference)
        mean.add(update, 1.0)
    mean.result()
    return (packed - began) / len(sent), time.perf_counter() - packed, len(next(iter(sent.values())))


def masked(updates: Mapping[str, Update], reference: Update, nonce: str, *, drop: bool) -> tuple[float, float, int]:
    """As `plain`. The hub's time is that of the sum and of taking the masks off."""
    names = tuple(updates)
    dance = Dance(len(names), Masks(colluding=0), nonce)
    ring = Ring(1.0, len(names))
    stay = names[:-1] if drop else names
    began = time.perf_counter()
    dance.give_keys(names)
    dance.share(names)
    sent = {}
    for name in stay:
        dance.mask({name: ring.encode(updates[name], reference)})
        sent[name] = dance.masked[name].tobytes()
        digest_bytes(sent[name])
    signed = dance.sign(stay)
    opened = dance.open(stay, signed)
    sites = time.perf_counter() - began
    began = time.perf_counter()
    sums = Unmasking(dance.session, dance.threshold, dance.keys, dance.seeds, size_of(reference))
    for name in stay:
        digest_bytes(sent[name])
        sums.add(name, dance.masked[name])
    ring.mean(sums.result(opened), len(stay), reference)
    hub = time.perf_counter() - began
    one = names[0]
    boxes = tuple(box for box in dance.boxes if box.sender == one)
    shares = emit(GiveShares(seed=dance.seeds[one], boxes=boxes).model_dump(mode="json"))
    steps = [*dance.keys.values(), *dance.boxes_for(one), *signed, *opened[one], dance.keys[one], signed[0]]
    documents = len(shares) + sum(len(emit(each.model_dump(mode="json"))) for each in steps)
    return sites / len(stay), hub, len(sent[one]) + documents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=int, default=2_500_000)
    parser.add_argument("--members", type=int, nargs="+", default=[3, 6])
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    generator = torch.Generator().manual_seed(1)
    reference = {"b": torch.ones(asked.values)}
    for count in asked.members:
        changes = {name: torch.randn(asked.values, generator=generator) * 1e-4 for name in NAMES[:count]}
        updates = {name: {"b": reference["b"] + change} for name, change in changes.items()}
        rows: dict[str, list[tuple[float, float, int]]] = {"plain": [], "masked": [], "one drops out": []}
        for number in range(asked.repeats):
            rows["plain"].append(plain(updates, reference))
            rows["masked"].append(masked(updates, reference, f"{number:064x}", drop=False))
            rows["one drops out"].append(masked(updates, reference, f"{number + 1000:064x}", drop=True))
        base = [statistics.median(column) for column in zip(*rows["plain"], strict=True)]
        print(f"{count} members, {4 * asked.values / 1e6:g} MB each, medians of {asked.repeats}")
        for name, found in rows.items():
            site, hub, size = (statistics.median(column) for column in zip(*found, strict=True))
            print(
                f"  {name:<14} site {site:7.4f} s ({site / base[0]:5.2f}x)   hub {hub:7.4f} s ({hub / base[1]:5.2f}x)"
                f"   {size / 1e6:8.3f} MB a site ({size / base[2]:.4f}x)"
            )


if __name__ == "__main__":
    main()
