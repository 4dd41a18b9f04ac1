"""What a member can type must not act in a viewer's browser, spreadsheet or terminal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dashboards.display import cell, words
from hub.settings import Settings
from protos.documents.members import Member
from protos.documents.statements import HUB
from tests.dashboards import history
from tests.dashboards.conftest import Site, browser, page, site  # noqa: F401
from trust.errors import Invalid
from trust.keys import ArtifactKey

EVIL = (
    '<script>window.hacked=1</script><img src=x onerror="window.hacked=1">'
    "![](http://evil.example/pixel.png)[click](javascript:window.hacked=1) :red[x] $\\sqrt{2}$"
)
PAGES = ("", "models", "members", "runs", "campaigns", "ledger")
QUERIES = ("../../etc/passwd", "' OR 1=1 --", "<script>window.hacked=1</script>", "![](http://evil.example/x.png)")
ADDRESSED = {"models": "model", "members": "member", "runs": "run", "campaigns": "campaign"}


def _fill(settings: Settings) -> None:
    made = history.History(settings)
    try:
        key = ArtifactKey.generate().public.pem().decode()
        who = {"member": "evil", "organisation": EVIL, "role": "contributor", "artifact_key": key}
        made.record(Member.read({"hub": settings.name, "signer": HUB, **who}))
    finally:
        made.close()
    history.fill(settings)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A full coalition in which one organisation's name is an attack, and a viewer whose own name is one too."""
    with site(tmp_path_factory.mktemp("hostile"), _fill, organisation=EVIL) as made:
        yield made


@pytest.mark.system
def test_attack_38_nothing_typed_acts_in_the_browser(page, hostile) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    """38: names and addresses hold script, Markdown, links and queries. They are shown as text, nothing is fetched (the
    `page` fixture fails on any call to another machine), and no page fails."""
    wanted = [*PAGES, *(f"{path}?{name}={query}" for path, name in ADDRESSED.items() for query in QUERIES)]
    for path in wanted:
        page.goto(f"{hostile.url}/{path}")
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        page.locator("[data-testid=stMain] h1").first.wait_for()
        assert page.evaluate("window.hacked") is None, path
        assert page.locator("a[href^=javascript], img[src*=evil], script:text('hacked'), .katex").count() == 0, path
        assert page.locator("[data-testid=stException]").count() == 0, path
        assert "click" in page.locator("[data-testid=stSidebar]").inner_text(), "the name is shown, letter by letter"


@pytest.mark.parametrize("text", [EVIL, "a_b_c", "`x`", "**bold**", "# title", "1. x", "plain words, 3.5 %"])
def test_attack_38_words_hide_nothing(text: str) -> None:
    """38: what is escaped is still the whole text."""
    assert words(text).replace("\\\\", "\0").replace("\\", "").replace("\0", "\\") == text


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-cmd", "\t=1", "\r=1"])
def test_attack_38_a_table_saved_as_csv_holds_no_formula(text: str) -> None:
    """38: a spreadsheet runs what begins so; a quote in front makes it text."""
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-0.8 %", "+0.3", "plain", "", 3, -1.5, None])
def test_attack_38_figures_stay_figures(value: object) -> None:
    assert cell(value) == value


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\x00b", "a\u202eb", "\u2066x", "bell\x07", "c1\x9b31m", "a\rb"])
def test_attack_38_control_characters_are_no_text(text: str) -> None:
    """38, 39: no name or description carries characters that drive a terminal or turn a line around."""
    key = ArtifactKey.generate().public.pem().decode()
    claim = {"hub": "europe", "signer": HUB, "member": "a", "organisation": text, "role": "viewer", "artifact_key": key}
    with pytest.raises(Invalid, match="organisation"):
        Member.read(claim)
