"""Whether the statements of a ledger fit together: every one that builds on others names them as the ledger has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from contributors.ledger import Recorded
from protos.documents.campaigns import Campaign, CampaignEnd, Consent
from protos.documents.evaluations import Evaluation
from protos.documents.models import Model, Release
from protos.documents.runs import Checkpoint, Run, RunEnd
from protos.documents.submissions import Dataset, Suite

Finding = tuple[int, str]
"""The entry that does not fit, and why."""


def check_lineage(recorded: Iterable[Recorded]) -> list[Finding]:
    """What does not fit, in the order of the ledger."""
    history = _History()
    findings: list[Finding] = []
    for each in recorded:
        findings += [(each.index, what) for what in history.objections(each)]
        history.add(each)
    return findings


class _History:
    """What was recorded so far, by identifier."""

    def __init__(self) -> None:
        self._known: dict[str, Recorded] = {}
        self._consents: set[tuple[str, str]] = set()
        self._judges: dict[type, Callable[..., Iterable[str]]] = {
            Model: self._model,
            Evaluation: self._evaluation,
            Release: lambda claim: self._earlier(claim.model, Model),
            Checkpoint: lambda claim: self._earlier(claim.run, Run),
            RunEnd: self._run_end,
            Consent: lambda claim: self._earlier(claim.campaign, Campaign),
            CampaignEnd: lambda claim: self._earlier(claim.campaign, Campaign),
        }

    def add(self, recorded: Recorded) -> None:
        self._known.setdefault(recorded.leaf.id, recorded)
        if isinstance(recorded.claim, Consent):
            self._consents.add((recorded.claim.campaign, recorded.claim.signer))

    def objections(self, recorded: Recorded) -> Iterable[str]:
        judge = self._judges.get(type(recorded.claim))
        return judge(recorded.claim) if judge else ()

    def _earlier(self, identifier: str, kind: type, payload: str = "") -> list[str]:
        """Objections to the claim that `identifier` is an earlier statement of that kind and payload."""
        found = self._known.get(identifier)
        if found is None or not isinstance(found.claim, kind):
            return [f"it names the {kind.__name__.lower()} {identifier}, which is not recorded before it."]
        if payload and found.leaf.payload != payload:
            return [f"it names {identifier} with another content than the ledger has."]
        return []

    def _model(self, claim: Model) -> Iterable[str]:
        if claim.model in self._known:
            yield f"there is a model {claim.model} already."
        yield from self._earlier(claim.source, Run if claim.origin == "run" else Campaign, claim.payload)
        if claim.parent:
            yield from self._earlier(claim.parent, Model)
        elif claim.origin == "round":
            yield "a model of a round has no parent."
        for used in claim.data:
            yield from self._earlier(used.dataset, Dataset, used.payload)
            dataset = self._known.get(used.dataset)
            stated = (used.member, used.licence)
            if (
                dataset
                and isinstance(dataset.claim, Dataset)
                and stated != (dataset.claim.signer, dataset.claim.licence)
            ):
                yield f"it gives {used.dataset} another owner or licence than the ledger has."
        for part in claim.contributions:
            if (claim.source, part.member) not in self._consents:
                yield f"{part.member} contributed without having consented to {claim.source}."

    def _evaluation(self, claim: Evaluation) -> Iterable[str]:
        yield from self._earlier(claim.model, Model, claim.model_payload)
        yield from self._earlier(claim.suite, Suite, claim.suite_payload)

    def _run_end(self, claim: RunEnd) -> Iterable[str]:
        yield from self._earlier(claim.run, Run)
        if claim.model:
            yield from self._earlier(claim.model, Model)
