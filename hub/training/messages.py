"""Between the wire's messages and the values of `states`. What nodes send is bounded and typed here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hub.submissions.catalogue import Accepted
from hub.training.states import Prepared, Saved, Work, begins_with
from protos.coalition.v1 import common_pb2, training_pb2
from protos.documents.base import FileEntry
from protos.documents.course import Training
from protos.documents.models import Skip
from protos.documents.submissions import DatasetFile
from trust.canonical import emit
from trust.digests import parse_digest
from trust.errors import Invalid

MAX_FILES = 1000
MAX_METRICS = 1000
_METRICS = re.compile(
    r"learning_rate|tokens_per_second|mfu|checkpoint_stall|(held_out_)?loss(/[a-z0-9][a-z0-9-]{1,61}[a-z0-9])?"
)
"""What a worker measures: the rate of the optimizer's step, tokens of all ranks per second, the share of the accelerators' peak
that these take, the share of the time for which training stood still to save a checkpoint, nats a token (of a domain; on text
that was held out)."""
MAX_NOTE = 1500


def is_metric(name: str) -> bool:
    """Whether a worker may measure something under this name."""
    return _METRICS.fullmatch(name) is not None


def file_entries(files: Iterable[common_pb2.File]) -> tuple[FileEntry, ...]:
    """Raises `Invalid`, also for more than one message may name."""
    listed = list(files)
    if len(listed) > MAX_FILES:
        raise Invalid(f"{len(listed)} files were named; {MAX_FILES} are allowed.")
    return tuple(FileEntry.read({"path": f.path, "digest": f.digest, "size": f.size}) for f in listed)


def file_messages(files: Iterable[FileEntry]) -> list[common_pb2.File]:
    return [common_pb2.File(path=file.path, digest=file.digest, size=file.size) for file in files]


def prepared_of(message: training_pb2.Prepared) -> Prepared:
    """Raises `Invalid`."""
    return Prepared.read(
        {
            "tokenizer": [file.model_dump() for file in file_entries(message.tokenizer)],
            "tokens": [file.model_dump() for file in file_entries(message.tokens)],
            "token_count": message.token_count,
            "tokens_by_dataset": dict(message.tokens_by_dataset),
        }
    )


def saved_of(message: training_pb2.CheckpointSaved, rank: int, training: Training) -> Saved:
    """The rank is the sender's, whatever the message says. Raises `Invalid`."""
    if message.step % training.checkpoint_every or not 0 < message.step < training.steps:
        raise Invalid(f"step {message.step} has no checkpoint", field="step")
    if not math.isfinite(message.loss):
        raise Invalid("the loss is not a number", field="loss")
    weights = file_entries([message.weights])[0] if rank == 0 else None
    skipped = skipped_of(message.skipped, training) if rank == 0 else ()
    return Saved(parse_digest(message.shard), message.loss, weights, skipped)


def copied_of(message: training_pb2.Copied, training: Training) -> tuple[FileEntry, ...]:
    """The node's pieces of a copy. Raises `Invalid`."""
    if not training.copy_every or message.step % training.copy_every or not 0 < message.step < training.steps:
        raise Invalid(f"step {message.step} is not copied", field="step")
    return file_entries(message.pieces)


def skipped_of(messages: Iterable[training_pb2.Skip], training: Training) -> tuple[Skip, ...]:
    """The batches that rank 0 did not learn from. Raises `Invalid`."""
    skipped = tuple(Skip.read({"after": each.after, "until": each.until}) for each in messages)
    if len(skipped) > training.rollbacks or not all(each.after < each.until <= training.steps for each in skipped):
        raise Invalid("batches were skipped that no spike can have skipped", field="skipped")
    return skipped


def plain(text: str) -> str:
    """Words of a node for people: nothing in them moves a cursor, and every database takes them."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", " ", text)


def note_of(message: training_pb2.TrainingProgress) -> str:
    """What a worker says to people."""
    return plain(message.message)[:MAX_NOTE]


def model_of(message: training_pb2.Trained, rank: int) -> tuple[FileEntry, ...]:
    """The model's files from rank 0, nothing from the others. Raises `Invalid` when one is missing."""
    if rank:
        return ()
    files = file_entries(message.model)
    names = {file.path for file in files}
    if not {"config.json", "tokenizer.json"} <= names or not any(name.endswith(".safetensors") for name in names):
        raise Invalid("the model came without its configuration, tokenizer or weights", field="model")
    return files


def metrics_of(message: training_pb2.TrainingProgress, steps: int) -> list[tuple[int, str, float]]:
    """(step, name, value) of what we know and can show; the rest is left out."""
    return [
        (metric.step, metric.name, metric.value)
        for metric in message.metrics[:MAX_METRICS]
        if is_metric(metric.name) and 0 < metric.step <= steps and math.isfinite(metric.value)
    ]


def prepare_message(
    work: Work, spec: Mapping[str, Any], datasets: Sequence[Accepted[DatasetFile]]
) -> training_pb2.HubMessage:
    inputs = [
        training_pb2.DatasetInput(
            id=dataset.id, files=file_messages(file for file in dataset.files if file.rows), domain=dataset.domain
        )
        for dataset in datasets
    ]
    prepare = training_pb2.Prepare(run=work.run, attempt=work.attempt, spec=_json(spec), datasets=inputs)
    return training_pb2.HubMessage(prepare=prepare)


def train_message(work: Work, spec: Mapping[str, Any], node: str, host: str, port: int) -> training_pb2.HubMessage:
    if work.prepared is None:
        raise ValueError("training before preparing")
    copy = begins_with(work)
    train = training_pb2.Train(
        run=work.run,
        attempt=work.attempt,
        spec=_json(spec),
        tokenizer=file_messages(work.prepared.tokenizer),
        tokens=file_messages(work.prepared.tokens),
        rank=work.nodes.index(node),
        world=len(work.nodes),
        master_host=host,
        master_port=port,
        resume_step=work.registered,
        ranks_per_node=work.world // len(work.nodes),
        copy=file_messages(copy.pieces) if copy else [],
    )
    return training_pb2.HubMessage(train=train)


def registered_message(run: str, step: int) -> training_pb2.HubMessage:
    return training_pb2.HubMessage(registered=training_pb2.Registered(run=run, step=step))


def stop_message(run: str, attempt: int, reason: str, *, over: bool = False) -> training_pb2.HubMessage:
    """`over`: the run has ended, and its shards may go."""
    return training_pb2.HubMessage(stop=training_pb2.Stop(run=run, attempt=attempt, reason=reason, over=over))


def _json(spec: Mapping[str, Any]) -> str:
    return emit(dict(spec)).decode()
