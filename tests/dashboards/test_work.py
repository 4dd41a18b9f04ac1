"""Rows of members, runs, campaigns and the ledger."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.rows import campaigns, ledger, members, runs
from protos.coalition.v1.common_pb2 import Metric, ProgressEvent
from protos.coalition.v1.ledger_pb2 import LedgerEntry
from protos.coalition.v1.members_pb2 import Member
from protos.coalition.v1.rounds_pb2 import Campaign, Participation, Rewarded, Round
from protos.coalition.v1.submissions_pb2 import Finding, Submission
from protos.coalition.v1.training_pb2 import Checkpoint, Inventory, Node, Run


def test_members_by_contribution() -> None:
    rows = members.member_rows([Member(organisation="B", data_size=1), Member(organisation="A", data_size=2_000_000)])
    assert [(row["organisation"], row["data"]) for row in rows] == [("A", "2.0 MB"), ("B", "1 B")]


def test_submissions_of_one_member_say_why_they_were_rejected() -> None:
    refused = Submission(name="x", member="a", state="rejected", findings=[Finding(severity="reject", message="No.")])
    fine = Submission(name="y", member="b", state="accepted", findings=[Finding(severity="info", message="12 rows")])
    (row,) = members.submission_rows([refused, fine], "a")
    assert row["rejected because"] == "No."
    (row,) = members.submission_rows([refused, fine], "b")
    assert "rejected because" not in row, "a column of nothing is left out"


def test_only_accepted_data_counts() -> None:
    items = [
        Submission(kind="dataset", state="accepted", domain="law", member="a", size=3_000_000),
        Submission(kind="dataset", state="rejected", domain="law", member="a", size=9),
        Submission(kind="suite", state="accepted", domain="law", member="a", size=9),
    ]
    assert members.data_by_domain(items) == [{"domain": "law", "member": "a", "megabytes": 3.0}]


def test_a_step_measured_again_keeps_its_newest_value() -> None:
    metrics = [
        Metric(step=2, name="loss", value=9),
        Metric(step=1, name="loss", value=5),
        Metric(step=2, name="loss", value=4),
    ]
    assert runs.curves(metrics) == {"loss": [(1, 5.0), (2, 4.0)]}
    assert runs.latest(metrics) == {"loss": 4.0}


def test_runs_newest_first_with_their_progress() -> None:
    rows = runs.run_rows(
        [Run(id="run-a", launched_at="2026-01-01", step=5, steps=10), Run(id="run-b", launched_at="2026-01-02")]
    )
    assert [(row["run"], row["done"]) for row in rows] == [("runs?run=run-b", 0.0), ("runs?run=run-a", 50.0)]


def test_a_run_says_what_happened_apart_from_what_its_model_writes_newest_first() -> None:
    told = [
        ProgressEvent(time="2026-01-01T00:00:01Z", phase="queued", message="waiting in Slurm: Resources"),
        ProgressEvent(time="2026-01-01T00:00:02Z", phase="training", message="sample at step 5: Once: upon"),
        ProgressEvent(time="2026-01-01T00:00:03Z", phase="training", message="checkpoint of step 5 registered"),
    ]
    run = Run(told=told)
    assert [row["message"] for row in runs.told_rows(run)] == [told[2].message, told[0].message]
    assert runs.samples(run) == [("5", "Once: upon")]


def test_losses_are_told_apart_from_other_measurements_and_by_domain() -> None:
    names = ("loss", "held_out_loss", "loss/law", "mfu")
    found = runs.curves([Metric(step=1, name=name, value=number) for number, name in enumerate(names)])
    assert runs.losses(found) == [("learned from", 1, 0.0), ("held out", 1, 1.0)]
    assert runs.by_domain(found) == [("law", 1, 2.0)]
    assert runs.others(found) == {"mfu": [(1, 3.0)]}
    found |= runs.curves([Metric(step=1, name="held_out_loss/medicine", value=9)])
    assert runs.by_domain(found) == [("medicine", 1, 9.0)], "held-out texts tell more"


def test_the_time_left_follows_from_the_speed_and_what_the_spec_asks_for() -> None:
    spec = {
        "name": "tiny",
        "architecture": {
            "vocab_size": 512,
            "hidden_size": 64,
            "intermediate_size": 128,
            "layers": 2,
            "heads": 2,
            "kv_heads": 2,
            "context_length": 64,
        },
        "training": {"steps": 100, "batch_size": 2, "sequence_length": 64, "learning_rate": 1e-3},
        "placement": {"nodes": 2},
    }
    run = Run(state="training", step=75, steps=100, spec=json.dumps(spec))
    assert runs.seconds_left(run, 64.0) == 25 * 2 * 2 * 64 / 64
    assert runs.seconds_left(run, 0.0) is None
    run.state = "finished"
    assert runs.seconds_left(run, 64.0) is None


def test_checkpoints_newest_first() -> None:
    run = Run(checkpoints=[Checkpoint(step=100), Checkpoint(step=200)])
    assert [row["step"] for row in runs.checkpoint_rows(run)] == [200, 100]


def test_nodes_say_whether_they_work() -> None:
    rows = runs.node_rows([Node(name="a"), Node(name="b", attached=True, run="r"), Node(name="c", attached=True)])
    assert [(row["node"], row["state"]) for row in rows] == [("b", "working"), ("c", "free"), ("a", "away")]
    (ill,) = runs.node_rows([Node(name="d", attached=True, inventory=Inventory(health="its disk has 3 bytes left"))])
    assert ill["state"] == "ill: its disk has 3 bytes left"
    assert runs.node_rows([Node(inventory=Inventory(cores=2))])[0]["accelerators"] == "none"
    assert runs.node_rows([Node()])[0]["accelerators"] == ""


@pytest.fixture
def campaign() -> Campaign:
    parts = [Participation(member="b", loss_first=3, loss_last=2), Participation(member="a", excluded="too large")]
    return Campaign(
        id="c",
        state="running",
        rounds_planned=4,
        minimum_members=2,
        members=["a"],
        rounds=[Round(number=1, participants=parts)],
    )


def test_participants_of_the_newest_round_first(campaign: Campaign) -> None:
    campaign.rounds.add(number=2, participants=[Participation(member="a")])
    rows = campaigns.participation_rows(campaign)
    assert [(row["round"], row["member"]) for row in rows] == [(2, "a"), (1, "a"), (1, "b")]
    assert rows[1]["left out because"] == "too large"


def test_what_privacy_withholds_is_shown_as_missing_and_what_it_cost_by_member(campaign: Campaign) -> None:
    campaign.rounds.add(number=2, participants=[Participation(member="a", withheld=True)])
    newest = campaigns.participation_rows(campaign)[0]
    assert (newest["loss before"], newest["loss after"], newest["update norm"]) == (None, None, None)
    assert all(point["round"] < 2 for point in campaigns.losses(campaign))
    assert campaigns.spent_rows(campaign) == []
    for member in ("b", "a"):
        campaign.spent.add(member=member, rounds=1, epsilon=1, epsilon_everywhere=2, delta=1e-6)
    assert [(row["member"], row["in all campaigns"]) for row in campaigns.spent_rows(campaign)] == [("a", 2), ("b", 2)]


def test_losses_before_and_after_a_round(campaign: Campaign) -> None:
    points = [(point["round"], point["loss"]) for point in campaigns.losses(campaign) if point["member"] == "b"]
    assert points == [(0.5, 3.0), (1.0, 2.0)]


def test_rewards_are_shown_where_a_campaign_learns_from_them(campaign: Campaign) -> None:
    assert (campaigns.rewarded_rows(campaign), campaigns.rewards(campaign)) == ([], [])
    told = Rewarded(first=0.25, last=0.75, divergence=0.5, length=9)
    campaign.rounds.add(number=2, participants=[Participation(member="a", rewarded=told)])
    (row,) = campaigns.rewarded_rows(campaign)
    assert (row["round"], row["member"], row["divergence"], row["length"]) == (2, "a", 0.5, 9.0)
    assert [(point["round"], point["reward"]) for point in campaigns.rewards(campaign)] == [(1.5, 0.25), (2.0, 0.75)]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("waiting", "1 of at least 2"),
        ("running", "Round 2 of 4"),
        ("finished", "All 4 rounds"),
        ("stopped", "Ended as stopped."),
    ],
)
def test_a_campaign_says_where_it_stands(campaign: Campaign, state: str, said: str) -> None:
    campaign.state = state
    assert said in campaigns.standing(campaign)


def test_a_campaign_that_enough_have_joined_says_what_else_it_waits_for(campaign: Campaign) -> None:
    campaign.state, campaign.reason = "waiting", "campaign-1a2b3c4d5e6f comes first"
    campaign.minimum_members = len(campaign.members)
    assert campaigns.standing(campaign) == "Waits: campaign-1a2b3c4d5e6f comes first."


def test_a_failed_campaign_says_its_reason(campaign: Campaign) -> None:
    campaign.state, campaign.reason = "failed", "The SuperLink is gone."
    assert campaigns.standing(campaign) == "The SuperLink is gone."


@given(st.integers(0, 5000))
def test_the_ledgers_pages_hold_every_entry_once(size: int) -> None:
    seen: list[int] = []
    for page in range(1, ledger.pages(size) + 1):
        start, count = ledger.bounds(size, page)
        assert count <= ledger.PAGE
        seen += range(start, start + count)
    assert sorted(seen) == list(range(size))


def test_entries_newest_first() -> None:
    rows = ledger.entry_rows([LedgerEntry(index=1), LedgerEntry(index=2)])
    assert [row["entry"] for row in rows] == [2, 1]
