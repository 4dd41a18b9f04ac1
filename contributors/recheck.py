"""Whether a recorded evaluation holds: its scores recomputed from the per-item log, and from the suite where we may read it.

The hub's word is taken for nothing but the log, whose digest its signed statement names: a score that does not follow from
the log is found by anyone, a log that does not follow from the suite by whoever may read the suite, and likelihoods that the
model does not give by whoever evaluates again (`coalition eval reproduce`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from contributors.client import Coalition
from contributors.receipts import check_receipt
from learning.grading import credit
from learning.scoring import score
from protos.coalition.v1 import evaluation_pb2
from protos.documents import statements
from protos.documents.base import Claim
from protos.documents.evaluations import MAX_LOG, Evaluation, Sample, read_log
from protos.documents.graded import regraded
from protos.documents.leaf import Leaf
from protos.documents.submissions import Suite
from protos.documents.suite_files import MAX_SUITE
from trust.dsse import MAX_ENVELOPE
from trust.errors import Corrupt, Invalid, NotFound, Problem
from trust.statements import payload_digest, verify_statement

EXACT = 1e-9


@dataclass
class Finding:
    """What was checked, and what did not hold."""

    claim: Evaluation
    checked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def recheck(hub: Coalition, identifier: str) -> Finding:
    """Everything but evaluating again. Raises `NotFound`, and `Corrupt` or `Denied` for a statement that does not hold."""
    claim = statement(hub, identifier)
    if not isinstance(claim, Evaluation):
        raise NotFound(f"{identifier} is no evaluation.", "See `coalition eval list`.")
    found = Finding(claim, ["the statement is in the ledger, signed by the hub"])
    found.problems += shown_otherwise(claim, hub.evaluation(identifier))
    if claim.failure:
        return found
    try:
        samples = read_log(hub.blob(str(claim.samples), MAX_LOG))
    except NotFound:
        found.checked.append("the per-item log is its suite owner's: not checked")
        return found
    except Problem as problem:
        found.problems.append(problem.what)
        return found
    found.problems += recomputed(claim, samples)
    found.checked.append(f"its scores against the log of {len(samples)} items")
    files = suite_files(hub, claim)
    if files is None:
        found.checked.append("the suite may not be read by us: its items not checked")
    else:
        found.problems += regraded(files, samples, credit)
        found.checked.append("the log against the suite's items")
    return found


def statement(hub: Coalition, identifier: str) -> Claim:
    """What the ledger records under this name: proven, and signed by the hub if it is the hub's to say."""
    receipt = hub.receipt(identifier)
    check_receipt(hub.home, receipt)
    leaf = Leaf.decode(receipt.leaf)
    envelope = hub.blob(leaf.envelope, MAX_ENVELOPE)
    claimed = statements.read(envelope)
    if payload_digest(envelope) != leaf.payload or claimed.id != identifier:
        raise Corrupt(f"The ledger's entry of {identifier} is not of its statement.")
    if claimed.claim.signer == statements.HUB:
        verify_statement(envelope, hub.home.statement_key())
    return claimed.claim


def suite_files(hub: Coalition, claim: Evaluation) -> dict[str, bytes] | None:
    """The suite that was evaluated by, or None where we may not read it. Raises `Corrupt` for another one."""
    leaf = Leaf.decode(hub.receipt(claim.suite).leaf)
    suite = statement(hub, claim.suite)
    if leaf.payload != claim.suite_payload or not isinstance(suite, Suite):
        raise Corrupt(f"The evaluation names another suite than the ledger's {claim.suite}.")
    try:
        return {file.path: hub.blob(file.digest, MAX_SUITE) for file in suite.files}
    except NotFound:
        return None


def shown_otherwise(claim: Evaluation, shown: evaluation_pb2.Evaluation) -> Iterator[str]:
    """Where the hub shows other scores than it signed."""
    stated = {s.task: (s.metric, s.value, s.standard_error, s.items) for s in claim.scores}
    told = {s.task: (s.metric, s.value, s.standard_error, s.items) for s in shown.scores}
    if (shown.model, shown.suite) != (claim.model, claim.suite):
        yield "The hub shows another model or suite than it signed."
    for task in sorted(stated.keys() | told.keys()):
        if stated.get(task) != told.get(task):
            yield f"The hub shows another score of {task} than it signed."


def recomputed(claim: Evaluation, samples: Sequence[Sample]) -> Iterator[str]:
    """Where the signed scores do not follow from the log."""
    if stray := {sample.task for sample in samples} - {stated.task for stated in claim.scores}:
        yield f"The log has items of {min(stray)[:40]}, which has no score."
    for stated in claim.scores:
        try:
            ours = score(stated.metric, [sample for sample in samples if sample.task == stated.task])
        except Invalid as problem:
            yield f"{stated.task}: {problem.what}"
            continue
        same = math.isclose(ours.value, stated.value, rel_tol=EXACT, abs_tol=EXACT)
        error = math.isclose(ours.standard_error, stated.standard_error, rel_tol=EXACT, abs_tol=EXACT)
        if not same or not error or ours.items != stated.items or ours.baseline != stated.baseline:
            yield (
                f"The signed {stated.metric} of {stated.task} is {stated.value:.6g} over {stated.items} items; "
                f"its log says {ours.value:.6g} over {ours.items}."
            )
