"""What the hub states about a run: which tokens the model learned from, and which batches were skipped."""

from __future__ import annotations

from hub.submissions.catalogue import Accepted
from hub.training.feed import Feed
from hub.training.registration import checkpoint_claim, model_claim
from hub.training.states import Prepared, Saved, Work
from hub.training.tables import RunRow
from protos.documents.base import FileEntry
from protos.documents.models import Skip
from protos.documents.runs import RunSpec
from protos.documents.submissions import DatasetFile
from tests.hub.conftest import ORIGIN
from tests.hub.training.test_feed import DOMAINS, MIXED, TOKENS, batches
from trust.digests import digest_bytes

DIGEST = digest_bytes(b"anything")
FILE = FileEntry(path="model.safetensors", digest=DIGEST, size=1)
SKIPS = (Skip(after=10, until=13), Skip(after=18, until=23))


def work(**values: object) -> Work:
    prepared = Prepared(
        tokenizer=(FILE,),
        tokens=(FILE,),
        token_count=sum(TOKENS.values()),
        tokens_by_dataset=dict(reversed(TOKENS.items())),
    )
    return Work("run-1", "training", 1, 0, ("node-1", "node-2"), prepared, model=(FILE,), **values)  # type: ignore[arg-type]


def row(spec: RunSpec) -> RunRow:
    return RunRow(
        id="run-1",
        index=3,
        payload=DIGEST,
        name="tiny",
        spec=spec.model_dump(mode="json"),
        launched_by="core",
        launched_at="",
    )


def datasets() -> list[Accepted[DatasetFile]]:
    return [
        Accepted(name, DIGEST, name, "1", domain, "MIT", f"member-of-{name}", ()) for name, domain in DOMAINS.items()
    ]


def test_a_model_states_the_exact_tokens_of_each_dataset_and_member() -> None:
    skips = [(skip.after, skip.until) for skip in SKIPS]
    claim = model_claim(ORIGIN, "tiny-1", 100, work(skipped=SKIPS), row(MIXED), datasets())
    seen = [
        (dataset, 64 if step <= 26 else 32)
        for step, batch in enumerate(batches(Feed(MIXED, TOKENS, DOMAINS), skips), 1)
        for dataset, _ in batch
    ]
    for used in claim.data:
        assert used.tokens == sum(length for dataset, length in seen if dataset == used.dataset)
        assert used.member == f"member-of-{used.dataset}"
    assert claim.tokens == sum(used.tokens for used in claim.data) == sum(length for _, length in seen)
    assert claim.skipped == SKIPS


def test_a_checkpoint_states_what_was_skipped_before_it() -> None:
    reports = {0: Saved(DIGEST, 2.5, FILE, SKIPS[:1]), 1: Saved(DIGEST, 2.5, None)}
    claim = checkpoint_claim(ORIGIN, work(saved={20: reports}), 20)
    assert (claim.step, claim.skipped) == (20, SKIPS[:1])
