"""The whole flow with real processes, and what must hold when parts of it are killed. The tests build on one another."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from contributors.demo.parties import BIN, run
from tests.system.conftest import CAMPAIGN, MEMBERS, Coalition
from trust.errors import Problem

pytestmark = pytest.mark.system


def models(coalition: Coalition) -> list[str]:
    return [model["id"] for model in coalition.core.coalition("model", "list")]


def test_a_base_run_survives_the_death_of_a_node(coalition: Coalition) -> None:
    identifier = coalition.launch(steps=60, every=10)
    coalition.wait("a checkpoint", lambda: bool(coalition.show_run(identifier)["checkpoints"]))
    coalition.kill("node-2")
    coalition.wait("the interruption", lambda: coalition.show_run(identifier)["state"] == "queued")
    coalition.start("node-2")
    coalition.wait("the end", lambda: coalition.show_run(identifier)["state"] in ("finished", "failed"))
    ended = coalition.show_run(identifier)
    assert ended["state"] == "finished", ended["reason"]
    assert models(coalition) == [ended["model"]] == ["small-1"]
    losses = [metric["value"] for metric in ended["metrics"] if metric["name"] == "loss"]
    assert losses[-1] < losses[0]


def test_a_base_run_survives_the_death_of_the_hub(coalition: Coalition) -> None:
    identifier = coalition.launch(steps=80, every=20)
    coalition.wait("the training", lambda: coalition.show_run(identifier)["state"] == "training")
    coalition.kill("hub")
    coalition.start_hub()
    coalition.wait("the end", lambda: coalition.show_run(identifier)["state"] in ("finished", "failed"))
    ended = coalition.show_run(identifier)
    assert ended["state"] == "finished", ended["reason"]
    assert models(coalition) == ["small-1", "small-2"]


def test_rounds_survive_the_death_of_a_site_and_of_the_hub(coalition: Coalition) -> None:
    for name in MEMBERS:
        command = [
            BIN / "coalition",
            "site",
            "start",
            "--data",
            coalition.directory / name / "private",
            *("--join", "all", "--country", "NL"),
        ]
        coalition.start(f"site-{name}", command, COALITION_HOME=str(coalition.members[name].home), OMP_NUM_THREADS="1")
    spec = coalition.directory / "campaign.toml"
    spec.write_text(CAMPAIGN.format(base="small-1"))
    campaign = coalition.core.coalition("campaign", "open", spec)["id"]

    def show() -> dict[str, list[dict[str, str]] | str]:
        return dict(coalition.core.coalition("campaign", "show", campaign))

    coalition.wait("the first round", lambda: len(show()["rounds"]) >= 1)
    coalition.kill("site-university")
    coalition.kill("hub")
    coalition.start_hub()
    coalition.start("site-university")
    coalition.wait("the end", lambda: show()["state"] in ("finished", "failed"))
    ended = show()
    assert ended["state"] == "finished", ended["reason"]
    assert [step["model"] for step in ended["rounds"] if isinstance(step, dict)] == ["small-1.1", "small-1.2"]
    learned = coalition.core.coalition("model", "lineage", "small-1.2")["data"]
    assert {(used["member"], used["name"]) for used in learned if used["category"] == "private"} == {
        (name, "kept-sources") for name in MEMBERS
    }


def test_every_model_is_evaluated_and_every_number_is_on_the_leaderboard(coalition: Coalition) -> None:
    viewer = coalition.core
    coalition.wait("the evaluations", lambda: viewer.coalition("leaderboard")["waiting"] == 0)
    board = viewer.coalition("leaderboard")
    assert [row["model"] for row in board["rows"]] == ["small-1", "small-2", "small-1.1", "small-1.2"]
    for row in board["rows"]:
        assert len(row["scores"]) == len(board["columns"]) == 2
        assert all(score["standard_error"] > 0 for score in row["scores"].values())
    listed = viewer.coalition("eval", "list")
    assert {each["node"] for each in listed} & {"node-1", "node-2"}, "free nodes evaluate what every member may read"


def test_the_ledger_verifies_over_the_wire_and_from_its_files(coalition: Coalition) -> None:
    online = coalition.members["university"].coalition("ledger", "verify")
    assert online["problems"] == []
    offline = coalition.core.coalition("ledger", "verify", "--store", coalition.hub)
    assert offline["entries"] == online["entries"]


def test_an_honest_coalitions_audit_holds(coalition: Coalition) -> None:
    """Two runs that were cut short, a campaign, every score and the leaderboard follow from the ledger's own entries."""
    for where in ((), ("--store", coalition.hub)):
        audited = coalition.members["university"].coalition("ledger", "audit", *where)
        assert (audited["findings"], audited["problems"], audited["notes"]) == ([], [], [])
        assert audited["scores_recomputed"] >= len(audited["leaderboard"]) > 0


def test_a_release_verifies_offline_and_any_changed_byte_is_found(coalition: Coalition, tmp_path: Path) -> None:
    coalition.core.coalition("release", "cut", "small-1.2", "--version", "0.1")
    folder = tmp_path / "release"
    coalition.members["university"].coalition("release", "download", "0.1", folder)
    stranger = {"COALITION_HOME": str(tmp_path / "nobody")}
    run([BIN / "coalition", "release", "verify", folder], **stranger)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        original = path.read_bytes()
        changed = bytearray(original)
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        with pytest.raises(Problem):
            run([BIN / "coalition", "release", "verify", folder], **stranger)
        path.write_bytes(original)
    run([BIN / "coalition", "release", "verify", folder], **stranger)


def test_a_changed_byte_of_a_blob_or_an_entry_is_found_in_the_hubs_files(coalition: Coalition, tmp_path: Path) -> None:
    copy = tmp_path / "hub"
    for part in ("ledger", "blobs"):
        shutil.copytree(coalition.hub / part, copy / part)
    coalition.core.coalition("ledger", "verify", "--store", copy)
    blobs = sorted(path for path in (copy / "blobs" / "sha256").rglob("*") if path.is_file())
    entries = sorted(path for path in (copy / "ledger" / "tile" / "entries").rglob("*") if path.is_file())
    for path in (blobs[0], blobs[len(blobs) // 2], blobs[-1], entries[-1], copy / "ledger" / "checkpoint"):
        original = path.read_bytes()
        changed = bytearray(original)
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        with pytest.raises(Problem):
            coalition.core.coalition("ledger", "verify", "--store", copy)
        path.write_bytes(original)


def test_the_database_rebuilt_from_ledger_and_blobs_says_the_same(coalition: Coalition, tmp_path: Path) -> None:
    coalition.kill("hub")
    copy = tmp_path / "hub"
    shutil.copytree(coalition.hub, copy)
    coalition.start_hub()
    before = run([BIN / "coalition-hub", "dump", copy])
    rebuilt = coalition.hub_command("rebuild", copy)
    assert rebuilt["entries"] == before.count('"table": "ledger_entry"')
    assert run([BIN / "coalition-hub", "dump", copy]) == before


def test_a_contributor_may_not_launch_and_a_user_error_is_one_sentence(coalition: Coalition) -> None:
    spec = next(coalition.directory.glob("run-*.toml"))
    member = coalition.members["university"]
    with pytest.raises(Problem, match="may not launch base runs"):
        member.coalition("run", "launch", spec)
    done = subprocess.run([str(BIN / "coalition"), "run", "show"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
