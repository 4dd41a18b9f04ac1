"""How the terminal shows datasets, suites and reward policies: in a list, one in full, with what screening found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contributors.cli.session import connected
from contributors.cli.terminal import (
    as_dict,
    err,
    print_fields,
    print_json,
    print_messages,
    print_table,
    say,
    size,
)
from trust.errors import NotFound
from trust.sentences import counted

if TYPE_CHECKING:
    from protos.coalition.v1 import submissions_pb2

_STYLES = {"warning": "yellow", "reject": "bold red"}


def print_list(kind: str, as_json: bool) -> None:
    named = ["name", "member"] if kind == "dataset" else ["suite", "version"]
    terms = ["category", "in"] if kind == "dataset" else []
    with connected() as hub:
        found = hub.each_submission(kind)
        if as_json:
            print_messages(found)
            return
        print_table(
            ["*id", *named, "domain", "licence", *terms, "state", ">size"],
            ((s.id, *_named(s), s.domain, s.licence, *_terms(s), s.state, size(s.size)) for s in found),
            f"None yet. Submit one with `coalition {noun(kind)} submit`.",
        )


def noun(kind: str) -> str:
    return "data" if kind == "dataset" else kind


def _named(found: submissions_pb2.Submission) -> tuple[str, str]:
    return (found.name, found.member) if found.kind == "dataset" else (_reference(found), found.version)


def _reference(suite: submissions_pb2.Submission) -> str:
    """`member/suite@digest`, as tasks are named: two members may call theirs the same."""
    return f"{suite.member}/{suite.name}@{suite.id.rpartition('-')[2]}"


def print_croissant(identifier: str) -> None:
    """Derived here, from the manifest that the ledger names."""
    from contributors.croissant import metadata
    from protos.documents.submissions import Dataset

    with connected() as hub:
        claimed = hub.statement(identifier)
    if not isinstance(claimed.claim, Dataset):
        raise NotFound(f"{identifier} is a {claimed.kind}, not a dataset.")
    print_json(metadata(claimed.claim, claimed.id))


def print_one(kind: str, identifier: str, as_json: bool) -> None:
    with connected() as hub:
        found = hub.submission(identifier)
    if found.kind != kind:
        raise NotFound(f"{identifier} is a {found.kind}, not a {kind}.")
    if as_json:
        print_json(as_dict(found))
        return
    print_fields(
        [
            ("id", found.id),
            ("name", found.name if found.kind == "dataset" else f"{_reference(found)} version {found.version}"),
            ("member", found.member),
            ("domain", found.domain),
            ("licence", found.licence),
            ("category", found.category),
            ("may be processed in", ", ".join(found.jurisdiction)),
            ("visibility", "" if found.category else found.visibility),
            ("state", found.state),
            ("content", content(found)),
            ("withdrawn", _withdrawn(found)),
            ("because", found.withdrawn_because),
            ("purged", _purged(found)),
            ("tasks", ", ".join(found.tasks)),
            ("recorded", found.recorded_at),
            ("ledger entry", found.receipt.index if found.receipt.leaf else ""),
        ]
    )
    print_table(["file", ">size", "digest"], [(f.path, size(f.size), f.digest) for f in found.files], "")
    _report(found)


def _report(found: submissions_pb2.Submission) -> None:
    """What screening found; for the submission's owner and the core team."""
    if found.state == "screening":
        say(f"Screening: {found.screened_rows} of {found.rows} rows", to=err)
    if found.findings:
        say("")
        say(("Screening", "bold"))
    for finding in found.findings:
        say((f"{finding.severity:8}", _STYLES.get(finding.severity, "")), f"{finding.rule}: {finding.message}")
        for example in finding.examples:
            say(f"         {example}")


def _terms(found: submissions_pb2.Submission) -> tuple[str, ...]:
    return (found.category, ", ".join(found.jurisdiction)) if found.kind == "dataset" else ()


def _withdrawn(found: submissions_pb2.Submission) -> str:
    if not found.withdrawn_at:
        return ""
    return f"{found.withdrawn_at} by {found.withdrawn_by}, since entry {found.withdrawn_index}"


def _purged(found: submissions_pb2.Submission) -> str:
    if not found.purged_blobs:
        return ""
    others = "" if found.purged_blobs == found.blobs else "; something that stands names the others"
    return f"{found.purged_blobs} of {found.blobs} blobs, since entry {found.purged_index}{others}"


def content(found: submissions_pb2.Submission) -> str:
    if found.kind == "reward":
        return found.payload
    rows = f"{counted(found.rows, 'row')}, " if found.rows else ""
    return f"{rows}{size(found.size)} in {counted(len(found.files), 'file')}"


def fate(policy: submissions_pb2.Policy) -> str:
    if not policy.purges:
        return "kept at the hub, and served to nobody"
    return f"deleted after {policy.purge_grace_days:g} days, but for what something that stands names"
