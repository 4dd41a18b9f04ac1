"""Which blobs a statement names: what a mirror copies, an audit looks for, and a hub must not lose."""

from __future__ import annotations

from collections.abc import Iterator

from protos.documents.base import Claim
from protos.documents.evaluations import Evaluation
from protos.documents.models import Model, Release
from protos.documents.runs import Checkpoint
from protos.documents.submissions import Submission
from trust.digests import Digest


def blobs_of(claim: Claim) -> Iterator[tuple[Digest, str]]:
    """Every blob that a statement names and the hub keeps. Shards of checkpoints stay on the nodes."""
    for file in claim.sent if isinstance(claim, Submission) else getattr(claim, "files", ()):
        yield Digest(file.digest), file.path
    if isinstance(claim, Model) and claim.update:
        yield Digest(claim.update), "update"
    if isinstance(claim, Checkpoint):
        yield Digest(claim.weights.digest), "weights"
    if isinstance(claim, Evaluation) and claim.samples:
        yield Digest(claim.samples), "samples"
    if isinstance(claim, Release):
        yield Digest(claim.bundle), "bundle"
