"""`coalition run plan`, as it is typed, with no hub and no cluster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.contributors.cli.conftest import Coalition

SPECS = Path(__file__).parents[3] / "hub" / "training" / "specs"
_told: dict[tuple[object, ...], dict[str, Any]] = {}


def planned(coalition: Coalition, *arguments: object) -> dict[str, Any]:
    """What a plan tells; the same one is made once for all tests, for it traces the model for seconds."""
    if arguments not in _told:
        done = coalition("run", "plan", *arguments, "--json")
        assert done.code == 0, done.err
        _told[arguments] = done.json
    return _told[arguments]


@pytest.mark.slow
def test_mistral_small_4_is_119_billion_of_which_a_token_sees_six_and_a_half(coalition: Coalition) -> None:
    told = planned(coalition, SPECS / "small-4.toml", "--gpu", "h200", "--nodes", 32)
    assert told["census"]["total"] == 118_972_826_624
    assert told["census"]["active"] == 6_632_588_288
    assert told["cluster"]["ranks"] == 256
    assert told["chosen"]["layout"]["zero_stage"] == 3
    assert told["forecast"]["days"] > 1


@pytest.mark.parametrize(
    ("spec", "total", "active"),
    [
        pytest.param("dense-7b", 7_298_011_136, 7_298_011_136, marks=pytest.mark.slow),
        pytest.param("nano-hybrid", 31_577_937_344, 3_580_073_408, marks=pytest.mark.slow),
        pytest.param("tiny-experts", 6_104_256, 2_565_312, marks=pytest.mark.slow),
        ("tiny-dense", 3_443_136, 3_443_136),
        pytest.param("tiny-course", 3_443_136, 3_443_136, marks=pytest.mark.slow),
    ],
)
def test_every_shipped_spec_fits_what_it_asks_for(coalition: Coalition, spec: str, total: int, active: int) -> None:
    told = planned(coalition, SPECS / f"{spec}.toml", "--gpu", "h200")
    assert (told["census"]["total"], told["census"]["active"]) == (total, active)
    assert told["asked"]["fits"]


@pytest.mark.slow
def test_a_run_in_stages_takes_the_memory_of_the_widest_and_the_time_of_all(coalition: Coalition) -> None:
    told = planned(coalition, SPECS / "tiny-course.toml", "--gpu", "h200")
    works = {work["stage"]["name"]: work for work in told["works"]}
    assert [(name, work["stage"]["steps"]) for name, work in works.items()] == [
        ("pre-train", 200),
        ("anneal", 60),
        ("long", 40),
    ]
    assert works["long"]["flops"] > works["pre-train"]["flops"] == works["anneal"]["flops"], (
        "longer sequences attend to more"
    )
    operations = sum(work["flops"] * work["step_tokens"] * work["stage"]["steps"] for work in works.values())
    rate = told["cluster"]["ranks"] * told["cluster"]["accelerator"]["flops"] * told["assumed"]["mfu"]
    assert told["forecast"]["step"] * 300 == pytest.approx(operations / rate)
    assert {option["layout"]["zero_stage"] for option in told["options"]} == {0, 1, 2}, (
        "Muon needs matrices in one piece"
    )
    done = coalition("run", "plan", SPECS / "tiny-course.toml", "--gpu", "h200")
    assert "of the stage pre-train, with the most tokens in a pass" in done.out
    assert "40 steps are" in done.out
    assert "less than 0.01 kWh" in done.out
    assert re.search(r"\d milliseconds a step", done.out)


@pytest.mark.slow
def test_what_does_not_fit_is_refused_with_what_would(coalition: Coalition, tmp_path: Path) -> None:
    spec = tmp_path / "wide.toml"
    text = (SPECS / "dense-7b.toml").read_text().replace("recompute = true", "recompute = false")
    spec.write_text(text.replace("micro_batch = 1", "micro_batch = 8").replace("layers = 32", "layers = 8"))
    done = coalition("run", "plan", spec, "--gpu", "h100", "--nodes", 8)
    assert done.code == 1
    assert "does not fit 8 nodes of 8 x h100" in done.err
    assert "This fits: zero_stage = " in done.err


@pytest.mark.slow
def test_one_accelerator_is_too_little_for_fourteen_billion(coalition: Coalition, tmp_path: Path) -> None:
    spec = tmp_path / "short.toml"
    spec.write_text((SPECS / "small-4.toml").read_text().replace("layers = 36", "layers = 4"))
    done = coalition("run", "plan", spec, "--gpu", "h100", "--nodes", 1, "--gpus-per-node", 1)
    assert done.code == 1
    assert re.search(r"No layout fits so few; \d nodes would do: zero_stage = 3, micro_batch = 1, ", done.err)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('family = "llama"', 'family = "gpt"', "architecture: is no family of models; choose llama"),
        ("steps = 300", "steps = 300\nstepz = 3", "training.stepz: is not known here; check its spelling"),
        ("heads = 6\nkv", "heads = 7\nkv", "hidden_size must be a multiple of twice the heads"),
        (
            "sequence_length = 256",
            "sequence_length = 512",
            "A sequence_length of 512 exceeds architecture.context_length",
        ),
        ("batch_size = 8", "batch_size = 8\nmicro_batch = 3", "micro_batch = 3 does not divide batch_size = 8"),
        ("warmup_steps = 20", "warmup_steps = 301", "training: 301 warm-up steps exceed steps = 300"),
        ("layers = 6", "layers = 0", "architecture.layers: must be at least 1"),
    ],
)
def test_a_spec_that_cannot_be_is_one_sentence(
    coalition: Coalition, tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    text = (SPECS / "tiny-dense.toml").read_text()
    assert old in text
    (tmp_path / "bad.toml").write_text(text.replace(old, new))
    done = coalition("run", "plan", tmp_path / "bad.toml", "--gpu", "h200")
    assert done.code == 1
    assert sentence in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_whoever_has_no_hub_to_ask_for_nodes_hears_how_to_plan_without(coalition: Coalition) -> None:
    done = coalition("run", "plan", SPECS / "tiny-dense.toml")
    assert done.code == 1
    assert "is not enrolled" in done.err
    assert "To plan without a hub: --gpu h200 --nodes 2" in done.err


def test_an_accelerator_that_nobody_knows(coalition: Coalition) -> None:
    done = coalition("run", "plan", SPECS / "tiny-dense.toml", "--gpu", "abacus")
    assert done.code == 1
    assert "Known are a100" in done.err
