"""A round's local training: the site's private text, the model that came with the task, an update that leaves."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from contributors.site.judging import learn
from contributors.site.private import PrivateText, Tasks, Texts
from contributors.site.steering import steer
from learning.adaptation import AdaptationResult, adapt, adapt_to_answers, adapt_to_preferences
from learning.adapters import Adapted
from learning.compression import Packed, compress
from learning.export import load_model
from learning.objectives.rows import Rows
from learning.tokenizer import END_OF_TEXT_ID
from learning.trainable import trainable_of
from learning.updates import save_tensors
from protos.documents.campaigns import CampaignSpec
from protos.documents.methods import Transfer
from protos.documents.rewards import Rewarded, RewardPolicy
from protos.documents.rounds import CONTROL, Learned, RoundTask
from trust.digests import digest_bytes
from trust.errors import Invalid


@dataclass(frozen=True)
class Trained:
    """What may leave: the adapter's tensors, or how far weights moved, and these numbers. `examples` counts private documents;
    `start` is what the round began with, `rewarded` what the round came to where it learned from rewards. `control`, which stays
    here, is our own control variate where the campaign goes by them."""

    adapter: dict[str, Tensor]
    start: dict[str, Tensor]
    examples: int
    result: AdaptationResult
    data: tuple[Learned, ...]
    rewarded: Rewarded | None = None
    control: dict[str, Tensor] | None = None


def train(
    task: RoundTask,
    files: Mapping[str, bytes],
    text: PrivateText,
    policies: tuple[RewardPolicy, ...] = (),
    own: Mapping[str, Tensor] | None = None,
    member: str = "",
) -> Trained:
    """Adapt the task's model to the private text, by the reward `policies` that its campaign names, or by our `own` control
    variate as the last update that counted left it; what trains may be this `member`'s alone. Raises
    `Invalid` or `Unfit`, never quoting the text."""
    _check_files(task, files)
    spec = task.spec
    with tempfile.TemporaryDirectory(prefix="coalition-round-") as folder:
        for name in files.keys() - {CONTROL}:
            (Path(folder) / name).write_bytes(files[name])
        model, tokenizer = load_model(Path(folder))
    tokenizer_digest = digest_bytes(files["tokenizer.json"])
    room = spec.training.sequence_length - (spec.rewards.max_new_tokens if spec.rewards else 0)
    packed = text.packed(spec.objective, tokenizer, tokenizer_digest, room, policies)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    prepared = trainable_of(spec.trained(member)).prepare(model, spec.start_seed(task.round))
    start = prepared.start
    steered = None
    if spec.strategy == "scaffold" and isinstance(prepared, Adapted):
        steered = steer(prepared.model, start, files, own)
    rewarded: Rewarded | None = None
    if isinstance(packed.content, Tasks):
        result, rewarded = learn(prepared, packed.content, tokenizer, policies, spec, task.seed)
    else:
        result = _adapt(prepared.model, packed.content, spec, task.seed, steered.correct if steered else None)
    shares, end = packed.shares(result.tokens), prepared.state()
    control = steered.after(start, end, spec.training.steps, spec.training.learning_rate) if steered else None
    return Trained(end, start, packed.documents, result, shares, rewarded, control)


def _adapt(
    model: nn.Module, content: Texts, spec: CampaignSpec, seed: int, corrected: Callable[[], None] | None = None
) -> AdaptationResult:
    training = spec.training
    given = (training.steps, training.batch_size, training.learning_rate, seed)
    held = training.proximal
    if isinstance(content, Rows):
        return adapt_to_answers(model, content, *given, proximal=held, corrected=corrected)
    if isinstance(content, tuple):
        how = spec.preferences
        return adapt_to_preferences(
            model, content, END_OF_TEXT_ID, *given, proximal=held, beta=how.beta, offset=how.offset, corrected=corrected
        )
    return adapt(model, content, *given, proximal=held, corrected=corrected)


def update_of(trained: Trained, transfer: Transfer, lost: Mapping[str, Tensor] | None = None) -> Packed:
    """What travels, as the campaign says: the whole of it in fp32, or what changed and was `lost` before, in fewer bytes."""
    if transfer.how == "fp32":
        return Packed(save_tensors(trained.adapter), "fp32", trained.adapter)
    change = {name: tensor - trained.start[name] for name, tensor in trained.adapter.items()}
    return compress(change, transfer.how, lost, transfer.keep)


def _check_files(task: RoundTask, files: Mapping[str, bytes]) -> None:
    """That the files are those which the task names, byte for byte."""
    if set(files) != {entry.path for entry in task.files}:
        raise Invalid("The files beside the task are not those it names.")
    for entry in task.files:
        if digest_bytes(files[entry.path]) != entry.digest:
            raise Invalid(f"{entry.path} is not the file that the task names.")
