"""The dashboard in headless Chromium, over a real hub: every page, empty and full; links, filters, live parts, outages."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from hub.database import Database
from hub.progress.log import Progress
from tests.dashboards import history
from tests.dashboards.conftest import Site

pytestmark = pytest.mark.system

PAGES = {
    "": "Leaderboard",
    "models": "Models",
    "members": "Members",
    "runs": "Runs",
    "campaigns": "Campaigns",
    "ledger": "Ledger",
}


def visit(page: Any, site: Site, path: str) -> None:
    """Open a page and wait until Streamlit has run it to its end."""
    page.goto(f"{site.url}/{path}")
    page.get_by_role("heading", name=PAGES[path.partition("?")[0]], level=1).wait_for()
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def cells(page: Any, tables: int = 1) -> list[str]:
    """The text of every table cell, once so many tables are drawn: on canvas, with their cells beside it for screen readers."""
    page.locator("[role=grid]").nth(tables - 1).locator("[role=gridcell]").first.wait_for(state="attached")
    return list(page.locator("[role=gridcell]").all_text_contents())


def says(page: Any, words: str) -> None:
    """Wait until the page says this; parts of a page arrive after its script has ended."""
    from playwright.sync_api import expect

    expect(page.locator("[data-testid=stMain]")).to_contain_text(words, timeout=20_000)


def identifier(page: Any, name: str) -> str:
    """Of the run with this name, from the list of runs."""
    shown = cells(page)
    return next(cell for cell, after in pairwise(shown) if after == name and "=" in cell).partition("=")[2]


def no_failure(page: Any) -> None:
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.locator("[data-testid=stAlertContentError]").count() == 0


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "coalition run launch"),
        ("models", "coalition run launch"),
        ("members", "coalition data submit"),
        ("runs", "coalition-hub node"),
        ("campaigns", "coalition campaign open"),
        ("ledger", "coalition ledger verify"),
    ],
)
def test_an_empty_page_says_what_to_do(page: Any, empty: Site, path: str, said: str) -> None:
    visit(page, empty, path)
    says(page, said)
    no_failure(page)


def test_the_leaderboard_shows_every_model_and_how_it_moved(page: Any, full: Site) -> None:
    visit(page, full, "")
    shown = cells(page, tables=2)
    for model in ("tiny-1", "tiny-1.1", "tiny-1.2", "tiny-1.3"):
        assert f"models?model={model}" in shown
    assert "2.500 ± 0.014" in shown
    assert "2.200 ± 0.014 ★" in shown
    assert "bits per byte ↓" in shown
    assert shown.count("better") == 2 * len(history.DOMAINS)
    assert page.locator("[data-testid=stMetric]").count() == len(history.DOMAINS)
    page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first.wait_for()
    says(page, "Models that can't be told apart share ranks")
    no_failure(page)


def test_the_domain_is_in_the_address(page: Any, full: Site) -> None:
    visit(page, full, "")
    page.get_by_role("radio", name="law").or_(page.get_by_role("button", name="law", exact=True)).first.click()
    page.wait_for_url("**/?domain=law")
    visit(page, full, "?domain=medicine")
    shown = cells(page, tables=2)
    assert any("medicine-suite/terms" in cell for cell in shown)
    assert not any("law-suite" in cell for cell in shown)


def test_a_model_has_its_lineage(page: Any, full: Site) -> None:
    visit(page, full, "models?model=tiny-1.2")
    page.locator("[data-testid=stGraphVizChart] svg").wait_for()
    drawn = page.locator("[data-testid=stGraphVizChart] svg").text_content()
    for name in ("law-texts", "tiny-1.1", "round 2, 3 members"):
        assert name in drawn
    assert "tiny-1.3" not in drawn
    says(page, "coalition model download tiny-1.2")
    shown = cells(page, tables=5)
    assert "law-house" in shown
    assert any(cell.startswith("sha256:") for cell in shown)
    assert page.url.endswith("?model=tiny-1.2"), "the address names what is shown"
    no_failure(page)


def test_members_and_what_they_gave(page: Any, full: Site) -> None:
    visit(page, full, "members")
    shown = cells(page, tables=2)
    for word in ("Law House", "Core Team", "The Public", "medicine-texts", "software-suite"):
        assert word in shown
    no_failure(page)


def test_a_run_has_its_loss_curve(page: Any, full: Site) -> None:
    visit(page, full, "runs")
    visit(page, full, f"runs?run={identifier(page, 'tiny')}")
    page.locator("[data-testid=stVegaLiteChart]").first.wait_for()
    says(page, "finished")
    says(page, "3.143")
    no_failure(page)


def test_a_run_is_followed_without_a_reload(page: Any, full: Site) -> None:
    visit(page, full, "runs")
    run = identifier(page, "next")
    visit(page, full, f"runs?run={run}")
    says(page, "none yet")
    database = Database(full.settings.database_url)
    try:
        metrics = [(5, "loss", 4.321), (5, "loss/law", 4.5), (5, "mfu", 0.42), (5, "tokens_per_second", 1280.0)]
        Progress(database).append(run, "training", "training goes back to step 3 <b>x</b>", metrics)
        Progress(database).append(run, "training", "sample at step 5: <script>alert(1)</script>")
    finally:
        database.close()
    says(page, "4.321")
    says(page, "42.0%")
    says(page, "10 s")
    says(page, "What happened")
    page.get_by_text("What the model writes (1)").click()
    says(page, "<script>alert(1)</script>")
    no_failure(page)


def test_a_campaign_has_its_rounds_and_participants(page: Any, full: Site) -> None:
    visit(page, full, "campaigns")
    says(page, "All 3 rounds are done.")
    shown = cells(page, tables=2)
    assert shown.count("law-house") >= history.ROUNDS
    no_failure(page)


def test_the_ledger_lists_what_was_signed(page: Any, full: Site) -> None:
    visit(page, full, "ledger")
    shown = cells(page)
    for kind in ("evaluation", "campaign-end"):
        assert kind in shown
    no_failure(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_readers_colours(browser: Any, full: Site, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    visit(page, full, "")
    background = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 21, 28)"}[scheme]
    context.close()


def test_an_outage_is_a_sentence_and_passes(page: Any, empty: Site) -> None:
    visit(page, empty, "ledger")
    empty.stop_hub()
    try:
        with_problem = page.locator("[data-testid=stAlertContentError]")
        for _ in range(20):  # answers are remembered for a moment
            page.reload()
            page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
            if with_problem.count():
                break
        says(page, "hub")
        assert with_problem.count() == 1
        assert page.locator("[data-testid=stException]").count() == 0
    finally:
        empty.start_hub()
    says(page, "Check it yourself")  # by itself
    no_failure(page)
