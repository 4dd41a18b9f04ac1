"""A coalition's history as real, signed ledger entries: what a base run and a campaign leave behind, without training."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hub.foundation import Foundation
from hub.rounds import sites
from hub.server import register_projections
from hub.settings import Settings
from learning.scoring import score
from protos.documents.architectures import Llama
from protos.documents.base import Claim, FileEntry
from protos.documents.campaigns import Campaign, CampaignEnd, CampaignSpec, Consent
from protos.documents.evaluations import Evaluation, Metric, Sample, TaskScore
from protos.documents.members import Member
from protos.documents.methods import Adapter, LocalTraining, Rewards
from protos.documents.models import Contribution, DataUsed, Model
from protos.documents.runs import Data, Run, RunEnd, RunSpec, Training
from protos.documents.statements import HUB, sign
from protos.documents.submissions import Dataset, DatasetFile, Suite
from trust.digests import Digest, digest_bytes
from trust.keys import ArtifactKey

DOMAINS = ("law", "medicine", "software")
ROUNDS = 3
TOKENS = 12_800
"""Steps x batch x sequence length of the one run that made a model."""


class History:
    """Writes through the hub's own journal; the hub must not be running."""

    def __init__(self, settings: Settings) -> None:
        self.base = Foundation.open(settings)
        register_projections(self.base.journal)
        self.base.journal.start()
        self.hub = settings.name
        self.keys: dict[str, ArtifactKey] = {}
        self.payloads: dict[str, Digest] = {}

    def close(self) -> None:
        self.base.journal.stop()
        self.base.database.close()
        self.base.blobs.close()

    def record(self, claim: Claim) -> str:
        """Signed by whom it names; the identifier of what it records."""
        if claim.signer == HUB:
            entry = self.base.journal.sign_and_record(claim)
        else:
            entry = self.base.journal.record(sign(claim, self.keys[claim.signer]), claim.signer)
        self.payloads[entry.id] = entry.payload
        return entry.id

    def enrol(self, member: str, role: str) -> None:
        key = ArtifactKey.generate()
        self.keys[member] = key
        pem = key.public.pem().decode()
        values = {"member": member, "organisation": member.replace("-", " ").title(), "role": role, "artifact_key": pem}
        self.record(Member.read({"hub": self.hub, "signer": HUB, **values}))

    def file(self, path: str, data: bytes) -> FileEntry:
        return FileEntry(path=path, digest=self.base.blobs.put(data), size=len(data))

    def dataset(self, member: str, domain: str) -> str:
        rows = [json.dumps({"text": f"{domain} text number {number}"}) for number in range(20)]
        file = self.file("part-000.jsonl", "\n".join(rows).encode())
        return self.record(
            Dataset(
                hub=self.hub,
                signer=member,
                name=f"{domain}-texts",
                domain=domain,
                licence="CC-BY-4.0",
                provenance="made for a test",
                rows=20,
                files=(DatasetFile(**file.model_dump(), rows=20),),
            )
        )

    def suite(self, member: str, domain: str) -> str:
        task = {"name": "terms", "kind": "multiple_choice", "data": "terms.jsonl", "prompt": "{question}"}
        text = {"name": "text", "kind": "perplexity", "data": "text.jsonl"}
        described = {
            "format": "coalition-suite/v1",
            "name": f"{domain}-suite",
            "version": "1",
            "domain": domain,
            "licence": "CC-BY-4.0",
            "description": "For a test.",
            "tasks": [task, text],
        }
        files = (
            self.file("suite.json", json.dumps(described).encode()),
            self.file("terms.jsonl", json.dumps({"question": "?", "choices": [" a", " b"], "answer": 0}).encode()),
            self.file("text.jsonl", json.dumps({"text": "held out"}).encode()),
        )
        named = {"name": f"{domain}-suite", "version": "1", "domain": domain, "licence": "CC-BY-4.0"}
        return self.record(Suite(hub=self.hub, signer=member, files=files, **named))  # type: ignore[arg-type]

    def launch(self, name: str, datasets: tuple[str, ...] = ()) -> str:
        """A run that nobody has worked on: without nodes it stays queued."""
        return self.record(Run(hub=self.hub, signer="core-team", spec=self.spec(name, datasets)))

    def spec(self, name: str, datasets: tuple[str, ...] = ()) -> RunSpec:
        shape = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "layers": 2, "heads": 2, "kv_heads": 2}
        return RunSpec(
            name=name,
            data=Data(datasets=datasets),
            architecture=Llama(**shape, context_length=64),
            training=Training(steps=100, batch_size=2, sequence_length=64, learning_rate=1e-3),
        )

    def run(self, datasets: dict[str, str]) -> str:
        run = self.launch("tiny")
        points = [(step, "loss", 3 + 4 * math.exp(-step / 30)) for step in range(0, 101, 5)]
        self.base.progress.append(run, "training", "", points)
        share = TOKENS // len(datasets)
        used = [
            DataUsed(dataset=dataset, payload=self.payloads[dataset], member=member, licence="CC-BY-4.0", tokens=share)
            for member, dataset in datasets.items()
        ]
        self.model("tiny-1", None, run, 0, data=tuple(used))
        self.record(RunEnd(hub=self.hub, signer=HUB, run=run, outcome="finished", model="tiny-1"))
        self.base.progress.append(run, "finished", terminal=True)
        return run

    def model(self, name: str, parent: str | None, source: str, number: int, **more: object) -> None:
        values = {
            "hub": self.hub,
            "signer": HUB,
            "model": name,
            "parent": parent,
            "origin": "round" if parent else "run",
            "source": source,
            "payload": self.payloads[source],
            "round": number,
            "parameters": 4_600_000,
            "architecture": "LlamaForCausalLM",
            "tokens": TOKENS,
            "files": (self.file("config.json", b"{}"), self.file("model.safetensors", name.encode())),
            "code_version": "0.1.0",
        }
        self.record(Model.model_validate({**values, **more}))

    def site_key(self, member: str) -> Digest:
        """The digest of a SuperNode key that the member has registered."""
        public = ec.generate_private_key(ec.SECP384R1()).public_key()
        line = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        pem = sites.read_public_key(line)
        with self.base.database.session(writing=True) as session:
            sites.claim_key(session, member, pem)
        return digest_bytes(pem)

    def campaign(self, members: list[str]) -> str:
        campaign = self.open_campaign(members)
        for number in range(1, ROUNDS + 1):
            parent = "tiny-1" if number == 1 else f"tiny-1.{number - 1}"
            self.model(f"tiny-1.{number}", parent, campaign, number, contributions=_contributions(members, number))
        self.record(CampaignEnd(hub=self.hub, signer=HUB, campaign=campaign, outcome="finished"))
        return campaign

    def open_campaign(self, members: list[str], **more: Any) -> str:
        """That these members consented to."""
        local = LocalTraining(steps=10, batch_size=2, sequence_length=64, learning_rate=1e-3)
        spec = CampaignSpec(
            name="first-rounds",
            base_model="tiny-1",
            rounds=ROUNDS,
            minimum_members=len(members),
            adapter=Adapter(rank=4, alpha=8),
            training=local,
        )
        spec = CampaignSpec.read({**dict(spec), **more})
        campaign = self.record(Campaign(hub=self.hub, signer="core-team", spec=spec))
        for member in members:
            self.record(Consent(hub=self.hub, signer=member, campaign=campaign, site_key=self.site_key(member)))
        return campaign

    def learn_by(self, policy: Digest) -> str:
        """An open campaign of GRPO by this reward policy."""
        spec = CampaignSpec(
            name="rewarded-rounds",
            base_model="tiny-1",
            objective="grpo",
            rewards=Rewards(policies=(policy,), group=2, max_new_tokens=8),
            rounds=ROUNDS,
            minimum_members=1,
            training=LocalTraining(steps=10, batch_size=2, sequence_length=64, learning_rate=1e-3),
        )
        return self.record(Campaign(hub=self.hub, signer="core-team", spec=spec))

    def evaluate(self, model: str, suite: str, number: int) -> None:
        samples = [*_terms(0.3 + 0.05 * number), *_texts(2.5 - 0.1 * number)]
        log = b"".join(sample.model_dump_json().encode() + b"\n" for sample in samples)
        scores = tuple(
            _scored(task, metric, [sample for sample in samples if sample.task == task])
            for task, metric in (("terms", "acc"), ("text", "bits_per_byte"))
        )
        self.record(
            Evaluation(
                hub=self.hub,
                signer=HUB,
                model=model,
                model_payload=self.payloads[model],
                suite=suite,
                suite_payload=self.payloads[suite],
                harness="lm-eval 0.4.13",
                scores=scores,
                samples=self.base.blobs.put(log),
                seconds=1.5,
            )
        )


def _terms(share: float) -> list[Sample]:
    """A hundred questions of two choices, of which the model gets that share right."""
    likely = [(-1.0, -2.0) if item < round(100 * share) else (-2.0, -1.0) for item in range(100)]
    return [
        Sample(task="terms", item=item, log_likelihoods=values, lengths=(2, 2), answer=0)
        for item, values in enumerate(likely)
    ]


def _texts(bits: float) -> list[Sample]:
    """Fifty texts of eight bytes at about so many bits a byte."""
    spread = [bits + 0.1 * (-1) ** item for item in range(50)]
    return [
        Sample(task="text", item=item, log_likelihoods=(-8 * each * math.log(2),), lengths=(8,))
        for item, each in enumerate(spread)
    ]


def _scored(task: str, metric: Metric, samples: list[Sample]) -> TaskScore:
    found = score(metric, samples)
    return TaskScore(task=task, metric=metric, **dataclasses.asdict(found))


def _contributions(members: list[str], number: int) -> tuple[Contribution, ...]:
    return tuple(
        Contribution(
            member=member,
            examples=20,
            weight=1 / len(members),
            loss_first=3.0 - 0.2 * number,
            loss_last=2.9 - 0.2 * number,
            update_norm=1.5,
        )
        for member in members
    )


def fill(settings: Settings) -> None:
    """Three members with data and suites, one finished run and one queued, one finished campaign, every score."""
    history = History(settings)
    try:
        history.enrol("core-team", "core")
        members = {f"{domain}-house": domain for domain in DOMAINS}
        for member in members:
            history.enrol(member, "contributor")
        datasets = {member: history.dataset(member, domain) for member, domain in members.items()}
        suites = [history.suite(member, domain) for member, domain in members.items()]
        history.run(datasets)
        history.campaign(list(members))
        history.launch("next")
        for number in range(ROUNDS + 1):
            for suite in suites:
                history.evaluate("tiny-1" if number == 0 else f"tiny-1.{number}", suite, number)
    finally:
        history.close()
