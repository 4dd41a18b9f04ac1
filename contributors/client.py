"""The hub as a member sees it: every call with a deadline, every failure as a Problem, statements signed here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from contributors.calling import Advance, Meter, call, persist, watched
from contributors.home import Home
from protos.coalition.v1 import (
    common_pb2,
    evaluation_pb2,
    evaluation_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    members_pb2,
    members_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    rounds_pb2,
    rounds_pb2_grpc,
    submissions_pb2,
    submissions_pb2_grpc,
    training_pb2,
    training_pb2_grpc,
)
from protos.documents import statements
from protos.documents.base import Claim, FileEntry
from protos.documents.leaf import Leaf
from protos.documents.statements import Claimed
from protos.transport import blobs
from protos.transport.channel import connect
from protos.transport.renewal import is_due
from protos.transport.uploads import Source
from trust.digests import Digest
from trust.dsse import MAX_ENVELOPE
from trust.errors import Conflict, Corrupt, Unavailable

COMMIT_DEADLINE = 600.0
SCREENING_PAUSE = 1.0  # seconds between two questions how far it is
UPLOAD_DEADLINE = 3600.0

Watch = Callable[[int, int], None]
"""Called with the rows that were screened, and how many there are."""


class Coalition:
    """A connection to the hub that a home is enrolled at; a context manager."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.identity = home.identity()
        self._credentials = home.fresh_credentials()
        self._open()

    def keep_fresh(self) -> None:
        """For who stays connected for days: renews the certificate when its time comes, and connects anew under it."""
        if is_due(self._credentials):
            self._credentials = self.home.fresh_credentials()
            self._open()  # calls that go on keep the old channel until they end

    def renew(self) -> None:
        """A new certificate now, and a connection under it."""
        self._credentials = self.home.renew()
        self._open()

    def _open(self) -> None:
        self.channel = connect(self.identity.address, self._credentials)
        self._members = members_pb2_grpc.MembersStub(self.channel)
        self._ledger = ledger_pb2_grpc.LedgerStub(self.channel)
        self._blobs = ledger_pb2_grpc.BlobsStub(self.channel)
        self._submissions = submissions_pb2_grpc.SubmissionsStub(self.channel)
        self._training = training_pb2_grpc.TrainingStub(self.channel)
        self._campaigns = rounds_pb2_grpc.CampaignsStub(self.channel)
        self._evaluations = evaluation_pb2_grpc.EvaluationsStub(self.channel)
        self._models = models_pb2_grpc.ModelsStub(self.channel)
        self._releases = models_pb2_grpc.ReleasesStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()

    def sign(self, claim: Claim) -> common_pb2.SignedStatement:
        """Our statement, the same one when the same is said again. `hub` and `signer` must be ours; see `self.identity`."""
        return common_pb2.SignedStatement(envelope=self.home.statement(claim))

    # --- members and ledger ------------------------------------------------------------------------------------------

    def whoami(self) -> members_pb2.Member:
        return call(self._members.WhoAmI, members_pb2.WhoAmIRequest())

    def members(self) -> list[members_pb2.Member]:
        return list(call(self._members.ListMembers, members_pb2.ListMembersRequest()).members)

    def keys(self, member: str = "") -> members_pb2.MemberKeys:
        """All keys that speak or spoke for a member; ours by default."""
        return call(self._members.GetKeys, common_pb2.ById(id=member))

    def change_keys(self, envelope: bytes) -> common_pb2.Recorded:
        return call(self._members.ChangeKeys, common_pb2.SignedStatement(envelope=envelope))

    def delegate(self, envelope: bytes, certificate_request: bytes, proof: bytes) -> members_pb2.Certified:
        request = members_pb2.DelegateRequest(envelope=envelope, certificate_request=certificate_request, proof=proof)
        return call(self._members.Delegate, request)

    def revoke_node(self, envelope: bytes) -> common_pb2.Recorded:
        return call(self._members.RevokeNode, common_pb2.SignedStatement(envelope=envelope))

    def head(self) -> ledger_pb2.TreeHead:
        return call(self._ledger.GetHead, ledger_pb2.GetHeadRequest())

    def tile(self, path: str) -> bytes:
        """A file of the ledger. Raises `NotFound`."""
        return call(self._ledger.ReadTile, ledger_pb2.ReadTileRequest(path=path)).data

    def entries(self, start: int = 0, count: int = 0) -> list[ledger_pb2.LedgerEntry]:
        request = ledger_pb2.ListEntriesRequest(start=start, count=count)
        return list(call(self._ledger.ListEntries, request).entries)

    def receipt(self, identifier: str) -> common_pb2.Receipt:
        """By an entry's number or by the identifier of what it records."""
        if identifier.isdigit():
            return call(self._ledger.GetReceipt, ledger_pb2.GetReceiptRequest(index=int(identifier)))
        return call(self._ledger.GetReceipt, ledger_pb2.GetReceiptRequest(id=identifier))

    def statement(self, identifier: str) -> Claimed:
        """What the ledger records under an identifier. Raises `Corrupt` when the hub gives another statement for it."""
        leaf = Leaf.decode(self.receipt(identifier).leaf)
        claimed = statements.read(self.blob(leaf.envelope, MAX_ENVELOPE))
        if claimed.payload != leaf.payload or claimed.id != identifier:
            raise Corrupt(f"The hub gave another statement for {identifier[:80]!r}.")
        return claimed

    # --- blobs -------------------------------------------------------------------------------------------------------

    def download(self, file: common_pb2.File, folder: Path, advance: Advance = lambda n: None) -> Path:
        """Fetch a file to its path below `folder`, verified, resuming after cuts. Raises `Invalid` for a path outside."""
        entry = FileEntry.read({"path": file.path, "digest": file.digest, "size": file.size})
        target, meter = folder / entry.path, Meter(advance)
        persist(lambda: blobs.download(self.channel, Digest(entry.digest), entry.size, target, meter.restart()))
        return target

    def blob(self, digest: str, max_bytes: int = 64 << 20) -> bytes:
        """A small blob, verified."""
        return blobs.read(self.channel, Digest(digest), max_bytes)

    def blob_serves_right_bytes(self, digest: str) -> bool:
        """Fetch a blob and hash it here. Raises `NotFound` when we may not read it."""
        return blobs.hash_remote(self.channel, Digest(digest))

    def blob_intact(self, digest: str) -> bool:
        """What the hub says after hashing its own copy again. Raises `NotFound`."""
        request = ledger_pb2.CheckBlobRequest(digest=digest)
        return call(self._blobs.Check, request, COMMIT_DEADLINE).intact

    # --- submissions -------------------------------------------------------------------------------------------------

    def submit(
        self,
        statement: common_pb2.SignedStatement,
        sources: Mapping[str, Source],
        advance: Advance,
        watch: Watch = lambda rows, total: None,
    ) -> submissions_pb2.Submission:
        """Open, upload what the hub lacks (resuming after cuts), commit, wait for screening. `sources` by their digests."""
        if "," in self.identity.address:  # one of the hub's processes is away, another answers
            persist(lambda: call(self._submissions.Open, statement))
        else:
            call(self._submissions.Open, statement)  # what cannot be opened, or reached at all, is said at once
        meter = Meter(advance)
        return persist(lambda: self._submit(statement, sources, meter.restart(), watch))

    def _submit(
        self, statement: common_pb2.SignedStatement, sources: Mapping[str, Source], advance: Advance, watch: Watch
    ) -> submissions_pb2.Submission:
        opened = call(self._submissions.Open, statement)
        if opened.HasField("existing"):
            return opened.existing
        missing = {each.digest: each.offset for each in opened.missing}
        for digest, source in sources.items():
            if digest in missing:
                self._upload(opened.id, digest, missing[digest], source, advance)
            else:
                advance(source.size)
        return self._screened(call(self._submissions.Commit, common_pb2.ById(id=opened.id), COMMIT_DEADLINE), watch)

    def _screened(self, found: submissions_pb2.Submission, watch: Watch) -> submissions_pb2.Submission:
        """Wait until the hub has screened it: recorded, though a quorum of witnesses may still be missing.

        Raises `Conflict` with the reasons when it was rejected.
        """
        while found.state == "screening":
            watch(found.screened_rows, found.rows)
            time.sleep(SCREENING_PAUSE)
            found = self.submission(found.id)
        if found.state in ("accepted", "pending"):
            return found
        reasons = [finding.message for finding in found.findings if finding.severity == "reject"]
        if found.state == "rejected":
            raise Conflict(f"{found.id} was rejected: " + " ".join(reasons))
        raise Unavailable(f"The screening of {found.id} was interrupted.", "Submit it again; nothing is sent twice.")

    def submissions(self, kind: str) -> list[submissions_pb2.Submission]:
        return list(self.each_submission(kind))

    def each_submission(self, kind: str) -> Iterator[submissions_pb2.Submission]:
        """One page after the other is in memory."""
        request = submissions_pb2.ListSubmissionsRequest(kind=kind)
        while True:
            page = call(self._submissions.ListSubmissions, request)
            yield from page.submissions
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def submission(self, identifier: str) -> submissions_pb2.Submission:
        return call(self._submissions.GetSubmission, common_pb2.ById(id=identifier))

    def withdraw(self, statement: common_pb2.SignedStatement) -> common_pb2.Recorded:
        return call(self._submissions.Withdraw, statement)

    def policy(self) -> submissions_pb2.Policy:
        """What the hub takes."""
        return call(self._submissions.GetPolicy, submissions_pb2.GetPolicyRequest())

    def _upload(self, submission: str, digest: str, offset: int, source: Source, advance: Advance) -> None:
        advance(offset)
        call(self._submissions.Upload, source.chunks(submission, digest, offset, advance), UPLOAD_DEADLINE)

    # --- runs --------------------------------------------------------------------------------------------------------

    def launch_run(self, statement: common_pb2.SignedStatement) -> common_pb2.Recorded:
        return call(self._training.LaunchRun, statement)

    def cancel_run(self, statement: common_pb2.SignedStatement) -> common_pb2.Recorded:
        return call(self._training.CancelRun, statement)

    def runs(self) -> list[training_pb2.Run]:
        return list(call(self._training.ListRuns, training_pb2.ListRunsRequest()).runs)

    def run(self, identifier: str) -> training_pb2.Run:
        return call(self._training.GetRun, common_pb2.ById(id=identifier))

    def watch_run(self, identifier: str) -> Iterator[common_pb2.ProgressEvent]:
        """Events, past and live, to the end of the run; reconnects where it was cut."""
        return watched(self._training.WatchRun, identifier)

    def nodes(self) -> list[training_pb2.Node]:
        return list(call(self._training.ListNodes, training_pb2.ListNodesRequest()).nodes)

    # --- campaigns ---------------------------------------------------------------------------------------------------

    def open_campaign(self, statement: common_pb2.SignedStatement) -> common_pb2.Recorded:
        return call(self._campaigns.OpenCampaign, statement)

    def join_campaign(self, statement: common_pb2.SignedStatement) -> common_pb2.Recorded:
        return call(self._campaigns.JoinCampaign, statement)

    def stop_campaign(self, statement: common_pb2.SignedStatement) -> common_pb2.Recorded:
        return call(self._campaigns.StopCampaign, statement)

    def pause_campaign(self, statement: common_pb2.SignedStatement) -> common_pb2.Recorded:
        return call(self._campaigns.PauseCampaign, statement)

    def resume_campaign(self, statement: common_pb2.SignedStatement) -> common_pb2.Recorded:
        return call(self._campaigns.ResumeCampaign, statement)

    def campaigns(self) -> list[rounds_pb2.Campaign]:
        return list(call(self._campaigns.ListCampaigns, rounds_pb2.ListCampaignsRequest()).campaigns)

    def campaign(self, identifier: str) -> rounds_pb2.Campaign:
        return call(self._campaigns.GetCampaign, common_pb2.ById(id=identifier))

    def watch_campaign(self, identifier: str) -> Iterator[common_pb2.ProgressEvent]:
        return watched(self._campaigns.WatchCampaign, identifier)

    def begin_site(self) -> bytes:
        """A nonce, for the site's key to sign."""
        return call(self._campaigns.BeginSite, rounds_pb2.BeginSiteRequest()).nonce

    def register_site(self, public_key: bytes, nonce: bytes, proof: bytes) -> rounds_pb2.RegisterSiteResponse:
        request = rounds_pb2.RegisterSiteRequest(public_key=public_key, nonce=nonce, proof=proof)
        return call(self._campaigns.RegisterSite, request)

    # --- evaluations, models, releases -------------------------------------------------------------------------------

    def evaluations(self, model: str = "", suite: str = "") -> evaluation_pb2.ListEvaluationsResponse:
        request = evaluation_pb2.ListEvaluationsRequest(model=model, suite=suite)
        return call(self._evaluations.ListEvaluations, request)

    def evaluation(self, identifier: str) -> evaluation_pb2.Evaluation:
        return call(self._evaluations.GetEvaluation, common_pb2.ById(id=identifier))

    def leaderboard(self) -> evaluation_pb2.Leaderboard:
        return call(self._evaluations.GetLeaderboard, evaluation_pb2.GetLeaderboardRequest())

    def ranking(self, domain: str = "") -> evaluation_pb2.Ranking:
        return call(self._evaluations.GetRanking, evaluation_pb2.GetRankingRequest(domain=domain))

    def models(self) -> list[models_pb2.Model]:
        return list(call(self._models.ListModels, models_pb2.ListModelsRequest()).models)

    def model(self, identifier: str) -> models_pb2.Model:
        return call(self._models.GetModel, common_pb2.ById(id=identifier))

    def lineage(self, identifier: str) -> models_pb2.Lineage:
        return call(self._models.GetLineage, common_pb2.ById(id=identifier))

    def prepare_release(self, model: str, version: str) -> models_pb2.PreparedRelease:
        request = models_pb2.PrepareReleaseRequest(model=model, version=version)
        return call(self._releases.PrepareRelease, request)

    def publish_release(self, envelope: bytes, bundle: bytes) -> common_pb2.Recorded:
        request = models_pb2.PublishReleaseRequest(envelope=envelope, bundle=bundle)
        return call(self._releases.PublishRelease, request)

    def releases(self) -> list[models_pb2.Release]:
        return list(call(self._releases.ListReleases, models_pb2.ListReleasesRequest()).releases)

    def release(self, version: str) -> models_pb2.Release:
        return call(self._releases.GetRelease, common_pb2.ById(id=version))
