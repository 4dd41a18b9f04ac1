"""`coalition ledger audit`: everything that a ledger implies is computed anew, and compared with what the hub shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from contributors.finality import final_size
from contributors.home import Home
from contributors.ledger import Advance, Recorded, Verdict, verify_ledger
from contributors.lineage import Finding, check_lineage
from contributors.sources import Source
from contributors.standings import Board, board_of, check_scores, compare
from protos.coalition.v1 import evaluation_pb2
from trust.errors import Corrupt, Denied


@dataclass
class Audited:
    """What holds, and what does not, in the order of the ledger."""

    verdict: Verdict
    final: int
    board: Board
    findings: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    scores_checked: int = 0
    logs_unread: int = 0

    @property
    def first(self) -> int | None:
        """The first entry that disagrees, of what can be said of an entry."""
        broken = set(range(self.verdict.head.size)) - {each.index for each in self.verdict.recorded}
        return min([index for index, _ in self.findings] + sorted(broken)[:1], default=None)

    @property
    def holds(self) -> bool:
        return not self.findings and not self.verdict.problems


def audit(
    home: Home,
    source: Source,
    served: evaluation_pb2.Leaderboard | None,
    advance: Advance = lambda what: None,
) -> Audited:
    """Check the ledger and all that follows from it. `served` is the leaderboard that a hub showed before the audit began.

    Raises `Corrupt` or `Denied` when the tree itself does not hold.
    """
    key, witnessed = home.ledger_key(), source.read_witnessed()  # before the head, which then covers it
    verdict = verify_ledger(source, key, home.statement_key(), home.known_head(), advance)
    advance("lineage and scores")
    findings = check_lineage(verdict.recorded)
    wrong, checked, unread = check_scores(verdict.recorded, source)
    findings += wrong
    final = 0
    try:
        final = final_size(verdict.recorded, verdict.leaves, witnessed, key)
    except (Corrupt, Denied) as problem:
        findings.append((verdict.head.size, problem.what))
    if served is not None:
        if served.ledger_size > final:
            findings.append((final, "the leaderboard counts entries that are not final."))
        findings += compare(board_of(verdict.recorded, int(served.ledger_size)), served)
    board = board_of(verdict.recorded, final)
    return Audited(verdict, final, board, sorted(findings), _strange(home, verdict.recorded), checked, unread)


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
