"""`coalition ledger audit`: everything that a ledger implies is computed anew, and compared with what the hub shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from contributors.client import Coalition
from contributors.finality import final_size
from contributors.home import Home
from contributors.ledger import Advance, Recorded, Verdict, verify_ledger
from contributors.lineage import Finding, check_lineage
from contributors.ranks import compare_ranking
from contributors.seen import Head, Seen
from contributors.sources import Source
from contributors.standings import Board, board_of, check_scores, compare
from contributors.trusted import Trusted
from contributors.witness.standing import standing
from learning.ranking import Answers
from protos.coalition.v1 import evaluation_pb2
from protos.documents.witnesses import Watch
from trust.errors import Corrupt, Denied
from trust.keys import LogPublicKey
from trust.notes import verify_tree_head


@dataclass(frozen=True)
class Served:
    """What a hub showed in this order, before an audit began: its head, the one with a quorum, and then the leaderboard and the
    ranking. So these cannot lack what was final under those.
    """

    note: bytes
    witnessed: bytes
    board: evaluation_pb2.Leaderboard
    ranking: evaluation_pb2.Ranking

    @classmethod
    def by(cls, hub: Coalition) -> Served:
        return cls(hub.head().note, standing(hub).witnessed, hub.leaderboard(), hub.ranking())


@dataclass
class Audited:
    """What holds, and what does not, in the order of the ledger."""

    verdict: Verdict
    final: int
    board: Board
    findings: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    scores_checked: int = 0
    logs_sealed: int = 0

    @property
    def first(self) -> int | None:
        """The first entry that disagrees, of what can be said of an entry."""
        broken = set(range(self.verdict.head.size)) - {each.index for each in self.verdict.recorded}
        return min([index for index, _ in self.findings] + sorted(broken)[:1], default=None)

    @property
    def holds(self) -> bool:
        return not self.findings and not self.verdict.problems


def audit(
    home: Home | None,
    source: Source,
    trusted: Trusted,
    served: Served | None = None,
    advance: Advance = lambda what: None,
) -> Audited:
    """Check the ledger and all that follows from it; with a `home`, also against what it was shown before and what it made.

    Raises `Corrupt` or `Denied` when the tree itself does not hold, or is not of the history that the home knows.
    """
    key, witnessed = trusted.ledger_key, source.read_witnessed()  # before the head, which then covers it
    seen = Seen.of(home) if home else Seen()
    if served is not None:
        shown = Head(served.note, verify_tree_head(served.note, key, key.name), "the head that the hub showed just now")
        seen = seen.with_head(shown)
    verdict = verify_ledger(source, key, trusted.hub_key, seen, advance)
    advance("lineage and scores")
    checked = check_scores(verdict.recorded, source, home.identity().id if home else "")
    findings = check_lineage(verdict.recorded) + checked.findings
    final = 0
    try:
        final = final_size(verdict.watch, verdict.leaves, witnessed, key)
    except (Corrupt, Denied) as problem:
        findings.append((verdict.head.size, problem.what))
    if served is not None:
        findings += _compare(served, verdict, checked.answers) + _sizes(served, verdict, final, key)
    return Audited(
        verdict,
        final,
        board_of(verdict.recorded, final),
        sorted(findings),
        _strange(home, verdict.recorded) if home else [],
        checked.scores,
        checked.sealed,
    )


def _compare(
    served: Served, verdict: Verdict, answers: Mapping[tuple[str, str], Mapping[str, Answers]]
) -> list[Finding]:
    """The leaderboard and the ranking, each against the ledger of its own size."""
    findings = compare(board_of(verdict.recorded, int(served.board.ledger_size)), served.board)
    ranked = board_of(verdict.recorded, int(served.ranking.ledger_size))
    return findings + compare_ranking(ranked, answers, served.ranking)


def _sizes(served: Served, verdict: Verdict, final: int, key: LogPublicKey) -> list[Finding]:
    """Both have to be of a size between what was final before they were shown and what is final now."""
    sizes = {"leaderboard": int(served.board.ledger_size), "ranking": int(served.ranking.ledger_size)}
    findings = [
        (final, f"the {what} counts entries that are not final.") for what, size in sizes.items() if size > final
    ]
    before = verify_tree_head(served.note, key, key.name).size
    watch = Watch(
        [each for each in verdict.watch.witnesses if each.index < before],
        [each for each in verdict.watch.policies if each.index < before],
    )
    try:
        due = final_size(watch, verdict.leaves[:before], served.witnessed, key)
    except (Corrupt, Denied) as problem:
        return [*findings, (before, problem.what)]
    stale = "the {} counts {} entries alone, and {} were final before it was shown."
    return findings + [(size, stale.format(what, size, due)) for what, size in sizes.items() if size < due]


def _strange(home: Home, recorded: list[Recorded]) -> list[Finding]:
    """Entries under our own name that this home did not make, and no delegate of ours."""
    if home.identity().delegation:
        return []  # a delegate knows its own part alone
    us, made = home.identity().id, home.made()
    return [
        (each.index, f"{each.leaf.id} is in your name, and this home did not make it.")
        for each in recorded
        if each.leaf.signer == us and not each.claim.delegation and each.leaf.payload not in made
    ]
