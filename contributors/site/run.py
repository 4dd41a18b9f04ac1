"""`coalition site start`: joins campaigns as the policy says, and keeps the SuperNode and the training process running."""

from __future__ import annotations

import datetime as dt
import fcntl
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape

from contributors.client import Coalition
from contributors.home import Home
from contributors.signers import Signers
from contributors.site.children import Child
from contributors.site.clock import wrong
from contributors.site.consent import change_agreements, consent, recorded_base, signed_spec, with_agreement
from contributors.site.datasets import remembered_digests, sources, write_declarations
from contributors.site.following import Following
from contributors.site.hearing import Hearing
from contributors.site.keys import SiteKey, register, site_key
from contributors.site.peers import write_peers
from contributors.site.policy import Agreements, acceptable, read_agreements, update_policy
from contributors.site.proving import waits, write_models
from contributors.site.rewards import signed_policies
from contributors.site.spending import note_recorded, read_spending
from contributors.witness.attachment import attached
from contributors.witness.cosigner import Event
from protos.coalition.v1 import rounds_pb2
from protos.documents.campaigns import CampaignSpec, SitePolicy
from protos.transport.version import differing, installed
from trust.errors import Conflict, Corrupt, Invalid, Problem, Unavailable
from trust.files import write_private

TICK = 0.1
LOOK, SOON = 2.0, 0.5
"""Seconds between two looks at the hub: commonly, and where a round waits for what the ledger says."""
ENDED = frozenset({"finished", "failed", "stopped"})
_console = Console()


def start(home: Home, data: Path | None = None, join: str = "", country: str = "") -> None:
    """Run the site until Ctrl-C or SIGTERM. What is given goes into site.toml. Raises a Problem."""
    policy = update_policy(home.directory, data, join, country)
    signal.signal(signal.SIGTERM, _interrupt)
    with _alone(home.directory), Coalition(home) as hub, attached(home, _tell):
        site = Site(hub, policy)
        try:
            site.open()
            while True:
                site.tend()
                time.sleep(TICK)
        except KeyboardInterrupt:
            _say("stopping")
        finally:
            site.close()


class Site:
    """One member's site while it runs."""

    def __init__(self, hub: Coalition, policy: SitePolicy) -> None:
        self._hub, self._policy = hub, policy
        self._home = hub.home.directory
        self._following, self._hearing = Following(hub), Hearing(hub.identity.id)
        self._signers = Signers(hub)
        self._digests = remembered_digests(self._home)
        self._unfit = ""
        self._key = ""
        self._children: list[Child] = []
        self._refused: set[str] = set()
        self._specs: dict[str, CampaignSpec] = {}
        self._port = str(_free_port())
        self._looked = 0.0
        self._troubled = ""
        self._warned: dict[str, str] = {}

    def open(self) -> None:
        """Make our key known, waiting for the hub if need be, and set up the two processes."""
        key = site_key(self._home)
        self._key = key.digest
        write_private(self._home / "site" / "secret", secrets.token_hex(32).encode())
        registered = self._register(key)
        arguments = ["contributors.site.clientapp", str(self._home), self._port]
        self._children = [
            Child("supernode", self._supernode(registered), self._home),
            Child("clientapp", arguments, self._home, speaks=True),
        ]
        _say(f"{self._hub.identity.id}'s site serves the SuperLink at {registered.superlink}; its text stays here")

    def tend(self) -> None:
        """Look at our datasets and the campaigns every now and then; restart what died."""
        if time.monotonic() - self._looked > (SOON if waits(self._home) else LOOK):
            self._looked = time.monotonic()
            self._look()
        supernode, clientapp = self._children
        if supernode.tend():
            _say("the SuperNode died; it starts again")
            self._register_again(supernode)
        if clientapp.tend():
            _say("the training process died; it and the SuperNode start again")
            supernode.stop()  # it would wait for an answer that never comes

    def close(self) -> None:
        for child in self._children:
            child.stop()

    def _register(self, key: SiteKey) -> rounds_pb2.RegisterSiteResponse:
        while True:
            try:
                return register(self._hub, key)
            except Unavailable as problem:
                self._trouble(problem)
                time.sleep(LOOK)

    def _register_again(self, supernode: Child) -> None:
        """The SuperLink may have forgotten us, which a SuperNode does not survive."""
        try:
            supernode.arguments = self._supernode(register(self._hub, site_key(self._home)))
        except Unavailable as problem:
            self._trouble(problem)

    def _supernode(self, registered: rounds_pb2.RegisterSiteResponse) -> list[str]:
        self._warn("clock", wrong(registered.time, dt.datetime.now(dt.UTC)), "this machine's clock is right again")
        self._warn("version", differing(registered.version, installed()), "the hub runs this site's version again")
        module = "contributors.site.supernode"
        return [module, str(self._home), registered.superlink, self._port, str(registered.node)]

    def _warn(self, of: str, warning: str, over: str) -> None:
        """What keeps us out of rounds is said once, and that it is over."""
        before, self._warned[of] = self._warned.get(of, ""), warning
        if bool(warning) != bool(before):
            _say(warning or over)

    def _look(self) -> None:
        try:
            self._hub.keep_fresh()
            fit = self._data_is_fit()
            for campaign in self._hub.campaigns():
                self._consider(campaign, fit)
        except (Unavailable, Corrupt, Invalid) as problem:  # what does not hold is no news to act on, now or ever
            self._trouble(problem)
            return
        if self._troubled:
            _say("the hub is back")
        self._troubled = ""
        if self._warned.get("clock"):
            self._register_again(self._children[0])  # it hears when the clock was set right

    def _data_is_fit(self) -> bool:
        """Whether we may train on every file; the first that we may not is named, once. Raises `Unavailable`."""
        known = self._following.look()
        write_declarations(self._home, known)
        write_peers(self._home, self._following.peers())
        write_models(self._home, self._following.models())
        note_recorded(self._home, self._following.recorded())
        why = ""
        try:
            sources(Path(self._policy.data), self._policy.country, known, self._digests)
        except Problem as problem:
            why = problem.diagnostics()
        if why and why != self._unfit:
            _say(f"this site joins nothing and refuses every round until its data is in order: {escape(why)}")
        if self._unfit and not why:
            _say("the site's data is in order now")
        self._unfit = why
        return not why

    def _consider(self, campaign: rounds_pb2.Campaign, fit: bool) -> None:
        ended = campaign.state in ENDED
        if self._hub.identity.id in campaign.members:
            for news in self._hearing.news(campaign):
                _say(escape(news))
            self._agree(campaign.id, ended)
            if fit and not ended and self._consented_with_another_key(campaign.id):
                self._join(campaign)
        elif fit and not ended and self._policy.join == "all" and campaign.id not in self._refused:
            self._join(campaign)

    def _consented_with_another_key(self, campaign: str) -> bool:
        """Whether the site's key was replaced since: the hub waits for the one that our consent names."""
        known = (each.site_key for each in read_agreements(self._home).campaigns if each.campaign == campaign)
        return campaign not in self._refused and next(known, None) not in (None, self._key)

    def _agree(self, campaign: str, ended: bool) -> None:
        """Bring our list of agreements up to date: what we joined elsewhere, what is over."""

        def change(known: Agreements) -> Agreements:
            agreed = {each.campaign: each for each in known.campaigns}
            if campaign not in agreed:
                spec = self._spec(campaign)
                rewards, base = signed_policies(self._signers, spec), recorded_base(self._signers, spec)
                return with_agreement(known, campaign, spec, rewards=rewards, base=base)
            if agreed[campaign].ended == ended:
                return known
            agreed[campaign] = agreed[campaign].model_copy(update={"ended": ended})
            return Agreements(campaigns=tuple(agreed.values()))

        change_agreements(self._home, change)

    def _spec(self, campaign: str) -> CampaignSpec:
        if campaign not in self._specs:
            self._specs[campaign] = signed_spec(self._signers, campaign)
        return self._specs[campaign]

    def _join(self, campaign: rounds_pb2.Campaign) -> None:
        try:
            spent = read_spending(self._home).besides(campaign.id)
            if why := acceptable(self._policy, self._spec(campaign.id), spent):
                self._refused.add(campaign.id)
                _say(f"not joining {campaign.id}: {why}")
                return
            consent(self._signers, campaign.id)
            _say(f"joined {campaign.id} ({campaign.name}), as site.toml says")
        except Unavailable:
            raise
        except Problem as problem:
            self._refused.add(campaign.id)
            _say(f"not joining {campaign.id}: {problem.what}")

    def _trouble(self, problem: Problem) -> None:
        if problem.what != self._troubled:
            _say(f"{escape(problem.diagnostics())} Trying again.")
        self._troubled = problem.what


def _say(message: str) -> None:
    _console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {message}", highlight=False, soft_wrap=True)


def _tell(event: Event) -> None:
    """What our witness does; that it cosigns is no news."""
    match event.kind:
        case "attached":
            _say("our witness is attached: tree heads of the ledger are cosigned here")
        case "fork" | "suspect":
            _say(f"[bold red]{event.message}[/] See {event.path}")
        case "refused" | "away":
            _say(f"our witness: {escape(event.message)}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One site per home: two would take each other's tasks. Raises `Conflict`."""
    (home / "site").mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "site" / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(f"A site runs already in {home}.", "Stop it first.") from None
        yield


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
