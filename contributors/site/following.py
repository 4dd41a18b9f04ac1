"""What the ledger has of us: datasets that we submitted, what was withdrawn, what a stolen key signed, rounds that we were in."""

from __future__ import annotations

from collections import Counter, deque

from contributors.client import Coalition
from contributors.leaves import Leaves
from contributors.signers import ABOUT_KEYS
from contributors.site.budget import Recorded
from contributors.site.datasets import Declarations, Declared
from contributors.site.peers import Consented, Peers
from contributors.site.proving import KEPT, Came, Models
from protos.documents import statements
from protos.documents.campaigns import Campaign, CampaignSpec, Consent
from protos.documents.leaf import Leaf
from protos.documents.masking import Seat
from protos.documents.models import Model
from protos.documents.roll import Roll
from protos.documents.submissions import Dataset, Withdrawal
from trust.dsse import MAX_ENVELOPE
from trust.errors import Problem, Unavailable

_ABOUT_ROUNDS = frozenset({"campaign", "consent", "model"})


class Following:
    """Each look reads only what is new, and all of it: the hub can leave no entry out.

    Who signed is verified here; what does not hold counts for nothing.
    """

    def __init__(self, hub: Coalition) -> None:
        self._hub = hub
        self._roll = Roll(hub.home.statement_key())
        self._leaves = Leaves(hub)
        self._waiting: deque[tuple[int, Leaf]] = deque()
        self._datasets: dict[str, Dataset] = {}
        self._withdrawn: set[str] = set()
        self._specs: dict[str, CampaignSpec] = {}
        self._rounds: Counter[str] = Counter()
        self._models: dict[str, dict[int, Came]] = {}  # by campaign and round
        self._consents: dict[str, dict[str, tuple[str, str]]] = {}  # by campaign and member: consent, site key

    def look(self) -> Declarations:
        """Raises `Unavailable`, the next look goes on from there; and as `Leaves.new`."""
        self._waiting.extend(each for each in self._leaves.new() if self._concerns_us(each[1]))
        while self._waiting:
            self._hear(*self._waiting[0])
            self._waiting.popleft()
        identity, stolen = self._hub.identity, {identifier for _, identifier, _ in self._roll.quarantined()}
        return Declarations(
            member=identity.id,
            hub=identity.hub,
            country=self._hub.policy().country,
            datasets=tuple(
                Declared(
                    id=identifier,
                    category=dataset.category,
                    jurisdiction=dataset.jurisdiction,
                    files=tuple(file.digest for file in dataset.files),
                    gone=self._gone(identifier, stolen),
                )
                for identifier, dataset in self._datasets.items()
            ),
        )

    def recorded(self) -> tuple[Recorded, ...]:
        """What the ledger has, as of the last look, of our rounds in campaigns with privacy."""
        private = {name: spec.privacy for name, spec in self._specs.items() if spec.privacy is not None}
        return tuple(
            Recorded(campaign, private[campaign].noise, rounds)
            for campaign, rounds in self._rounds.items()
            if campaign in private
        )

    def models(self) -> Models:
        """What the latest rounds came to of the campaigns that we consented to, as of the last look."""
        ours = (name for name, given in self._consents.items() if self._hub.identity.id in given)
        return Models(rounds=tuple(each for name in ours for each in self._models.get(name, {}).values()))

    def peers(self) -> Peers:
        """Who consented to each campaign under masks, with which key, as of the last look: members that are so still, by
        consents that no thief signed."""
        stolen = {identifier for _, identifier, _ in self._roll.quarantined()}
        return Peers(
            campaigns=tuple(
                Consented(
                    campaign=campaign,
                    seats=tuple(
                        Seat(member=member, site_key=key)
                        for member, (consent, key) in sorted(given.items())
                        if consent not in stolen and not self._roll.members[member].revoked
                    ),
                )
                for campaign, given in self._consents.items()
                if campaign in self._specs and self._specs[campaign].masks is not None
            )
        )

    def _gone(self, identifier: str, stolen: set[str]) -> str:
        if identifier in self._withdrawn:
            return f"{identifier} was withdrawn"
        return f"{identifier} was signed with a key that was revoked" if identifier in stolen else ""

    def _concerns_us(self, entry: Leaf) -> bool:
        ours = entry.kind == "dataset" and entry.signer == self._hub.identity.id
        return ours or entry.kind in ABOUT_KEYS or entry.kind in _ABOUT_ROUNDS or entry.kind == "withdrawal"

    def _hear(self, index: int, entry: Leaf) -> None:
        try:
            envelope = self._hub.blob(entry.envelope, MAX_ENVELOPE)
            claimed = statements.read(envelope)
            self._roll.admit(claimed, envelope, index, entry.time)
        except Unavailable:
            raise
        except Problem:
            return
        claim = claimed.claim
        if isinstance(claim, Dataset) and claim.signer == self._hub.identity.id:
            self._datasets[claimed.id] = claim
        elif isinstance(claim, Withdrawal) and self._may_withdraw(claim):
            self._withdrawn.add(claim.submission)
        elif isinstance(claim, Campaign):
            self._specs[claimed.id] = claim.spec
        elif isinstance(claim, Consent):
            self._consents.setdefault(claim.campaign, {})[claim.signer] = (claimed.id, claim.site_key)
        elif isinstance(claim, Model) and claim.origin == "round":
            ours = (part for part in claim.contributions if part.member == self._hub.identity.id)
            self._rounds[claim.source] += any(not part.excluded or part.examples for part in ours)
            self._note_model(claim)

    def _note_model(self, claim: Model) -> None:
        """The first that the ledger has of a round stands, and there is no other."""
        known = self._models.setdefault(claim.source, {})
        known.setdefault(claim.round, Came(campaign=claim.source, round=claim.round, files=claim.files))
        if len(known) > KEPT:
            del known[min(known)]

    def _may_withdraw(self, claim: Withdrawal) -> bool:
        return claim.signer == self._hub.identity.id or self._roll.members[claim.signer].role == "core"
