"""Whether the statements of a ledger fit together: what builds on others names them as the ledger has them, and a model's
data, parent and place follow from the run or campaign that made it. The rules are the hub's own, applied to the ledger alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isclose

from contributors.ledger import Recorded
from learning.aggregation.weighting import Standing, shares
from protos.documents.campaigns import Campaign, CampaignEnd, CampaignSpec, Consent
from protos.documents.evaluations import Evaluation
from protos.documents.models import Contribution, DataUsed, Import, Model, Release
from protos.documents.runs import Checkpoint, Run, RunEnd
from protos.documents.statements import NAMED, unnamed
from protos.documents.submissions import Dataset, Reward, Suite, Withdrawal
from trust.digests import Digest
from trust.errors import Invalid

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


_MADE_BY: dict[str, type] = {"run": Run, "round": Campaign, "import": Import}
_REPEATED = ("harness", "scores", "samples", "node")  # of an evaluation, what one that repeats it has as it has


class _History:
    """What was recorded so far, by identifier."""

    def __init__(self) -> None:
        self._known: dict[str, Recorded] = {}
        self._consents: set[tuple[str, str]] = set()
        self._withdrawn: dict[str, int] = {}
        self._ended: set[str] = set()
        self._made: dict[str, list[str]] = defaultdict(list)  # by run or campaign: its models, in order
        self._evaluated: set[tuple[str, str]] = set()
        self._judges: dict[type, Callable[..., Iterable[str]]] = {
            Run: self._run,
            Campaign: self._campaign,
            Model: self._model,
            Evaluation: self._evaluation,
            Release: lambda claim: self._earlier(claim.model, Model),
            Checkpoint: lambda claim: self._open(claim.run, Run),
            RunEnd: self._run_end,
            Consent: lambda claim: self._open(claim.campaign, Campaign),
            CampaignEnd: lambda claim: self._open(claim.campaign, Campaign),
        }

    def add(self, recorded: Recorded) -> None:
        self._known.setdefault(recorded.leaf.id, recorded)
        match recorded.claim:
            case Consent() as claim:
                self._consents.add((claim.campaign, claim.signer))
            case Withdrawal() as claim:
                self._withdrawn.setdefault(claim.submission, recorded.index)
            case RunEnd() as claim:
                self._ended.add(claim.run)
            case CampaignEnd() as claim:
                self._ended.add(claim.campaign)
            case Model() as claim:
                self._made[claim.source].append(claim.model)
            case Evaluation() as claim:
                self._evaluated.add((claim.model, claim.suite))

    def objections(self, recorded: Recorded) -> Iterator[str]:
        called = recorded.leaf.id
        if called in self._known and not isinstance(recorded.claim, NAMED):
            yield f"another entry is called {called}, as entry {self._known[called].index} is."
        if judge := self._judges.get(type(recorded.claim)):
            yield from judge(recorded.claim)

    def _earlier(self, identifier: str, kind: type, payload: str = "") -> list[str]:
        """Objections to the claim that `identifier` is an earlier statement of that kind and payload."""
        found = self._known.get(identifier)
        if found is None or not isinstance(found.claim, kind):
            return [f"it names the {kind.__name__.lower()} {identifier}, which is not recorded before it."]
        if payload and found.leaf.payload != payload:
            return [f"it names {identifier} with another content than the ledger has."]
        return []

    def _open(self, identifier: str, kind: type, payload: str = "") -> list[str]:
        """As `_earlier`, of a run or campaign that goes on."""
        ended = [f"{identifier} had ended before it."] if identifier in self._ended else []
        return self._earlier(identifier, kind, payload) or ended

    def _run(self, claim: Run) -> Iterator[str]:
        for dataset in claim.spec.data.datasets:
            yield from self._earlier(dataset, Dataset)
            found = self._known.get(dataset)
            if dataset in self._withdrawn:
                yield f"it names {dataset}, which was withdrawn before."
            elif found and isinstance(found.claim, Dataset) and found.claim.at_home:
                yield f"it names {dataset}, which stays at its owner's site."

    def _campaign(self, claim: Campaign) -> Iterator[str]:
        yield from self._earlier(claim.spec.base_model, Model)
        for digest in claim.spec.rewards.policies if claim.spec.rewards else ():
            policy = unnamed("reward", Digest(digest))
            yield from self._earlier(policy, Reward, digest)
            if policy in self._withdrawn:
                yield f"it names {policy}, which was withdrawn before."

    def _model(self, claim: Model) -> Iterator[str]:
        if claim.model in self._known:
            yield f"there is a model {claim.model} already."
        if claim.parent:
            yield from self._earlier(claim.parent, Model)
        if objections := self._open(claim.source, _MADE_BY[claim.origin], claim.payload):
            yield from objections
            return
        source = self._known[claim.source]
        if isinstance(source.claim, Run):
            yield from self._of_run(claim, source.claim, source.index)
        elif isinstance(source.claim, Campaign):
            yield from self._of_round(claim, source.claim)
        elif isinstance(source.claim, Import):
            yield from self._of_import(claim, source.claim)

    def _of_run(self, claim: Model, run: Run, index: int) -> Iterator[str]:
        """One model from exactly the datasets that the run trains on; all its tokens are theirs."""
        if claim.parent or claim.contributions or claim.round:
            yield "a model of a run has no parent, no contributions and no round."
        if self._made[claim.source]:
            yield f"{claim.source} has made {self._made[claim.source][0]} already."
        stated, usable = [used.dataset for used in claim.data], self._usable(run, index)
        yield from (f"it leaves out {each}, which {claim.source} trains on." for each in usable if each not in stated)
        yield from (
            f"it names {each}, which {claim.source} does not train on." for each in stated if each not in usable
        )
        if len(set(stated)) < len(stated):
            yield "it names a dataset twice."
        for used in claim.data:
            yield from self._used(used)
        tokens = run.spec.tokens
        if claim.tokens != tokens:
            yield f"it states {claim.tokens} tokens, and {claim.source} trains on {tokens}."
        attributed = sum(used.tokens for used in claim.data)
        if attributed != tokens:
            yield f"it attributes {attributed} tokens to datasets, of {tokens}."

    def _used(self, used: DataUsed) -> Iterator[str]:
        yield from self._earlier(used.dataset, Dataset, used.payload)
        match self._known.get(used.dataset):
            case Recorded(claim=Dataset() as claim) if (claim.signer, claim.licence) != (used.member, used.licence):
                yield f"it gives {used.dataset} another owner or licence than the ledger has."

    def _usable(self, run: Run, index: int) -> list[str]:
        """What a run at entry `index` trains on: of the datasets that stand there and may leave their sites those that it names,
        or all; of the domains that it weighs, if it does."""
        named, domains = run.spec.data.datasets, run.spec.domains
        return [
            identifier
            for identifier, each in self._known.items()
            if isinstance(each.claim, Dataset)
            and each.index < index
            and not each.claim.at_home
            and self._withdrawn.get(identifier, index) >= index
            and each.stands(index)
            and (not named or identifier in named)
            and (not domains or each.claim.domain in domains)
        ]

    def _of_import(self, claim: Model, source: Import) -> Iterator[str]:
        """One model, of the imported files and of nothing that members gave."""
        if claim.parent or claim.contributions or claim.round or claim.data or claim.tokens:
            yield "an imported model has no parent, no contributions, no round and no data."
        if self._made[claim.source]:
            yield f"{claim.source} has made {self._made[claim.source][0]} already."
        if claim.files != source.files:
            yield f"its files are others than {claim.source} names."

    def _of_round(self, claim: Model, campaign: Campaign) -> Iterator[str]:
        """The next round, from the model of the last one, by members that consented."""
        done, spec = self._made[claim.source], campaign.spec
        parent = done[-1] if done else spec.base_model
        if claim.parent != parent:
            yield f"its parent is {claim.parent or 'none'}, and {claim.source} goes on from {parent}."
        if claim.round != len(done) + 1 or claim.round > spec.rounds:
            yield f"it is of round {claim.round}; {len(done)} of {spec.rounds} were done before."
        counted = [part for part in claim.contributions if not part.excluded]
        yield from self._learned(claim, {part.member for part in counted})
        for part in claim.contributions:
            if (claim.source, part.member) not in self._consents:
                yield f"{part.member} contributed without having consented to {claim.source}."
            if spec.experts is not None and not spec.experts.of(part.member):
                yield f"{part.member} contributed, and {claim.source} names no expert of its own."
        if len({part.member for part in claim.contributions}) < len(claim.contributions):
            yield "a member contributed twice."
        if not weighed(spec, counted):
            yield f"its contributions are not weighted as {claim.source} says."

    def _learned(self, claim: Model, members: set[str]) -> Iterator[str]:
        """What sites say that they learned from is their own, and nobody's whose update does not count."""
        for used in claim.data:
            yield from self._used(used)
            if used.member not in members:
                yield f"it names {used.dataset} of {used.member}, whose update is not in it."
        if len({used.dataset for used in claim.data}) < len(claim.data):
            yield "it names a dataset twice."

    def _evaluation(self, claim: Evaluation) -> Iterator[str]:
        yield from self._earlier(claim.model, Model, claim.model_payload)
        yield from self._earlier(claim.suite, Suite, claim.suite_payload)
        if (claim.model, claim.suite) in self._evaluated:
            yield f"{claim.model} was evaluated by {claim.suite} already."
        if claim.same_as:
            yield from self._same(claim, claim.same_as)

    def _same(self, claim: Evaluation, source: str) -> Iterator[str]:
        """What was not computed anew is what that earlier evaluation came to, and of the same files."""
        if objections := self._earlier(source, Evaluation):
            yield from objections
            return
        first = self._known[source].claim
        if not claim.scores or any(getattr(claim, each) != getattr(first, each) for each in _REPEATED):
            yield f"it says that it repeats {source}, and has another harness, scores, log or node."
        if isinstance(first, Evaluation) and self._files(claim) != self._files(first):
            yield f"it says that it repeats {source}, which is of other files."

    def _files(self, claim: Evaluation) -> list[dict[str, str]]:
        """The digests by path of the model and of the suite."""
        named = [self._known[each].claim for each in (claim.model, claim.suite) if each in self._known]
        return [{file.path: file.digest for file in each.files} for each in named if isinstance(each, Model | Suite)]

    def _run_end(self, claim: RunEnd) -> Iterator[str]:
        yield from self._open(claim.run, Run)
        if claim.model and claim.model not in self._made[claim.run]:
            yield f"it names {claim.model}, which {claim.run} did not make."
        if claim.outcome == "finished" and not claim.model:
            yield f"it says that {claim.run} finished, and names no model."


def weighed(spec: CampaignSpec, counted: Sequence[Contribution]) -> bool:
    """Whether the weights of those that counted are what the campaign's spec makes of what is said of each."""
    standings = {part.member: Standing(part.examples, part.quality, part.late) for part in counted}
    most_late, staleness = (spec.buffer.most_late, spec.buffer.staleness) if spec.buffer else (0, 0.0)
    try:
        due = shares(standings, spec.weighting, spec.maximum_share, staleness=staleness)
    except Invalid:  # nobody counts
        return False
    return all(
        isclose(part.weight, due[part.member].weight, rel_tol=1e-6) and part.late <= most_late for part in counted
    )
