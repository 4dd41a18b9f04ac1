"""The steps of the demonstration: what operator, core team, members and viewer do, each with their own command and home."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from contributors.demo.parties import BIN, Party, Processes, answers, fewer_layers, free_ports, run
from contributors.demo.prepare import DOMAINS, OWN_LICENCES, Domain, Prepared, prepare_member
from trust.errors import Problem

HERE = Path(__file__).parent
RELEASE = "1.0"
SHORTER = 0.3
"""Of each member's suite for a model that others trained: thirty times as large, it reads as much slower."""
ELSEWHERE = HERE.parents[1] / "eval_suites" / "general-world"
"""What no member's text is about."""
out = Console()


@dataclass
class Story:
    """One telling: `directory` holds everything, `processes` everyone who runs; `base` is the folder of a model that others
    trained, with an `import.json` that says whose it is, where no base run is to make one."""

    directory: Path
    processes: Processes
    port: int
    core: Party
    viewer: Party
    members: dict[str, Party]
    base: Path | None = None
    taken_in: str = ""
    prepared: dict[str, Prepared] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def hub(self) -> Path:
        return self.directory / "hub"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def say(self, text: str) -> None:
        out.print(f"[dim]{time.monotonic() - self.started:5.0f} s[/]  {text}", highlight=False, soft_wrap=True)

    # --- the steps ---------------------------------------------------------------------------------------------------

    def open_hub(self) -> None:
        taken = [word for licence in OWN_LICENCES for word in ("--allow-licence", licence)]
        _hub_command("init", self.hub, "--name", "demo-coalition", "--port", self.port, "--country", "NL", *taken)
        if self.base is not None:
            self.take_in(self.base)
        fewer = fewer_layers()
        self.processes.start("hub", [BIN / "coalition-hub", "serve", self.hub], OMP_NUM_THREADS="1", **fewer)
        with ThreadPoolExecutor(2) as pool:
            members = [domain for domain in DOMAINS if domain.name in self.members]
            examined = SHORTER if self.base else 1
            prepared = pool.map(
                lambda domain: prepare_member(domain, self.directory / domain.name, examined=examined), members
            )
            self.prepared = {domain.name: parts for domain, parts in zip(members, prepared, strict=True)}
        self.processes.wait_for("The hub's start", lambda: answers(self.port) and answers(self.port + 1), 60)
        if fewer:
            self.say("this machine gives no namespaces (bubblewrap): suites are evaluated behind fewer layers")
        self.say(f"the hub serves on {self.address}; every member's text is split in three")

    def take_in(self, folder: Path) -> None:
        whose = json.loads((folder / "import.json").read_text())
        described = [word for name, value in sorted(whose.items()) for word in (f"--{name}", value)]
        self.taken_in = _hub_command("import", self.hub, folder, *described)["id"]
        self.say(
            f"base model [bold]{self.taken_in}[/] was trained by others: {whose['provenance']}, {whose['licence']}"
        )

    def enrol(self) -> None:
        self._enrol(self.core, "Core Team", "core")
        self._enrol(self.viewer, "Public Viewer", "viewer")
        for domain in _domains(self.members):
            self._enrol(self.members[domain.name], domain.organisation, "contributor")
        self.say(f"enrolled: one core team, {len(self.members)} members, one viewer")

    def submit(self) -> None:
        for domain in _domains(self.members):
            party, parts = self.members[domain.name], self.prepared[domain.name]
            described = (
                *("--domain", domain.name, "--licence", domain.licence),
                *("--jurisdiction", domain.jurisdiction, "--provenance", domain.provenance),
            )
            data = party.coalition(
                *("data", "submit", parts.data, "--name", f"{domain.name}-text", "--category", "controlled", *described)
            )
            private = party.coalition(
                *(
                    "data",
                    "submit",
                    parts.private,
                    "--name",
                    f"{domain.name}-private",
                    "--category",
                    "private",
                    *described,
                )
            )
            suite = party.coalition("suite", "submit", parts.suite)
            self.say(
                f"{domain.organisation}: dataset {data['id']} ({data['rows']:,} rows), private {private['id']} (its manifest), "
                f"suite {suite['id']} ({', '.join(suite['tasks'])})"
            )

    def attach(self) -> None:
        """Two node agents, and every member's site beside its private text."""
        for name, country in () if self.base else (("node-1", "NL"), ("node-2", "DE")):
            token = _hub_command("invite", self.hub, "--organisation", "Core Team", "--node", name)["token"]
            command = [BIN / "coalition-hub", "node", self.directory / name, "--hub", self.address, "--name", name]
            command += ["--label", f"jurisdiction={country}"]
            self.processes.start(name, command, COALITION_TOKEN=token, OMP_NUM_THREADS="1")
        for domain in _domains(self.members):
            command = [BIN / "coalition", "site", "start", "--data", self.prepared[domain.name].private]
            command += ["--join", "all", "--country", domain.country]
            home = str(self.members[domain.name].home)
            self.processes.start(f"site-{domain.name}", command, COALITION_HOME=home, OMP_NUM_THREADS="1")
        self.processes.wait_for("The witnesses' first quorum", lambda: self._cosigned() == len(self.members), 120)
        nodes = "" if self.base else "two nodes for base runs, "
        self.say(f"attached: {nodes}a site for every member")
        self.say_who_cosigned()

    def _cosigned(self) -> int:
        """How many members' witnesses cosigned the newest head that is final; 0 while entries are pending."""
        found = self.viewer.coalition("witness", "status")
        final = found["final"] == found["size"]
        return sum(each["size"] == found["size"] for each in found["witnesses"]) if final else 0

    def say_who_cosigned(self) -> None:
        found = self.viewer.coalition("witness", "status")
        count = sum(each["size"] == found["final"] for each in found["witnesses"])
        self.say(f"head {found['final']} cosigned by {count} of {found['counted']} members' witnesses")

    def find_base(self) -> str:
        """The model that rounds start from: of a base run, or of others."""
        if not self.base:
            return self._train_base()
        suite = self.core.coalition("suite", "submit", ELSEWHERE)
        self.say(f"Core Team: suite {suite['id']} ({', '.join(suite['tasks'])}), which no member's text is about")
        return self.taken_in

    def _train_base(self) -> str:
        launched = self.core.coalition("run", "launch", HERE / "run.toml")["id"]
        self.say(f"base run {launched} is launched on two nodes")
        self._follow(
            self.core.follow("run", "watch", launched),
            self.core.coalition("run", "show", launched)["steps"],
            "base run",
        )
        finished = self.core.coalition("run", "show", launched)
        if finished["state"] != "finished":
            raise Problem(f"The base run {launched} is {finished['state']}: {finished['reason']}")
        losses = [metric["value"] for metric in finished["metrics"] if metric["name"] == "loss"]
        self.say(f"base model [bold]{finished['model']}[/]: loss {losses[0]:.2f} to {losses[-1]:.2f}")
        return str(finished["model"])

    def hold_rounds(self, base: str) -> list[str]:
        """The base and the rounds' models, oldest first."""
        spec = self.directory / "campaign.toml"
        written = (HERE / ("campaign-large.toml" if self.base else "campaign.toml")).read_text()
        text = written.replace('base_model = "tiny-1"', f'base_model = "{base}"')
        spec.write_text(text.replace("minimum_members = 4", f"minimum_members = {len(self.members)}"))
        campaign = self.core.coalition("campaign", "open", spec)["id"]
        self.say(f"campaign {campaign} is open; the sites join by their own policy")
        planned = self.core.coalition("campaign", "show", campaign)["rounds_planned"]
        self._follow(self.core.follow("campaign", "watch", campaign), planned, "rounds")
        ended = self.core.coalition("campaign", "show", campaign)
        if ended["state"] != "finished":
            raise Problem(f"The campaign {campaign} is {ended['state']}: {ended['reason']}")
        models = [step["model"] for step in ended["rounds"]]
        self.say(f"{len(models)} rounds are done: {', '.join(models)}")
        return [base, *models]

    def wait_for_scores(self) -> None:
        def done() -> bool:
            board = self.viewer.coalition("leaderboard")
            return bool(board["waiting"] == board["pending"] == 0)

        self.processes.wait_for("Evaluating every model", done, 3600 if self.base else 600)
        failed = [found for found in self.viewer.coalition("eval", "list") if found["state"] == "failed"]
        if failed:
            raise Problem(f"Evaluation {failed[0]['id']} failed: {failed[0]['reason']}")
        self.say("every model is evaluated with every suite")

    def release(self, model: str) -> Path:
        self.core.coalition("release", "cut", model, "--version", RELEASE)
        folder = self.directory / f"release-{RELEASE}"
        self.viewer.coalition("release", "download", RELEASE, folder)
        verified = self.viewer.coalition("release", "verify", folder)
        self.say(f"release {RELEASE} of {model}: {verified['files']} files verified offline")
        self.processes.wait_for("The witnesses", lambda: self._cosigned() > 0, 60)
        self.say_who_cosigned()
        ledger = self.viewer.coalition("ledger", "verify")
        self.say(
            f"ledger verified: {ledger['entries']} entries; {ledger['blobs_verified']} blobs hashed here, "
            f"{ledger['blobs_vouched']} private ones by the hub"
        )
        return folder

    def dashboard(self) -> str:
        port = free_ports(1)
        command = [BIN / "coalition", "dashboard", "--port", port]
        self.processes.start("dashboard", command, COALITION_HOME=str(self.viewer.home))
        url = f"http://127.0.0.1:{port}"
        self.processes.wait_for("The dashboard's start", lambda: _healthy(url), 60)
        return url

    def _enrol(self, party: Party, organisation: str, role: str) -> None:
        token = _hub_command("invite", self.hub, "--organisation", organisation, "--role", role)["token"]
        party.coalition("enrol", "--hub", self.address, COALITION_TOKEN=token)

    def _follow(self, events: Any, total: int, what: str) -> None:
        columns = (
            TextColumn("         {task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=out, transient=True) as progress:
            task = progress.add_task(what, total=total, note="")
            for event in events:
                self.processes.check()
                if event["message"]:
                    self.say(f"[dim]{event['phase']}: {event['message']}[/]")
                if event["metrics"]:
                    step = max(metric["step"] for metric in event["metrics"])
                    losses = [m["value"] for m in event["metrics"] if m["name"] == "loss"]
                    note = f"{step}/{total}" + (f"  loss {losses[-1]:.3f}" if losses else "")
                    progress.update(task, completed=step, note=note)


def _domains(members: dict[str, Party]) -> Sequence[Domain]:
    return [domain for domain in DOMAINS if domain.name in members]


def _hub_command(*arguments: object) -> Any:
    """A `coalition-hub` command's JSON, run on the hub's machine."""
    return json.loads(run([BIN / "coalition-hub", *arguments, "--json"]))


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:  # noqa: S310  (our own loopback)
            return bool(answer.status == 200)
    except OSError:
        return False
