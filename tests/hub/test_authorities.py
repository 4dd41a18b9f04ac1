"""One authority follows another: real processes, mutual TLS, no restart, and nobody who renews in time is cut off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contributors.client import Coalition
from contributors.home import Home
from hub import authorities, setup
from hub.authorities import Authorities
from hub.settings import Settings
from tests.dashboards.conftest import HubProcess, free_ports, run
from trust.authorities import sign_authorities, split_bundle, verify_authorities
from trust.certificates import Authority, fingerprint
from trust.errors import Conflict, Denied, Invalid, NotFound, Problem
from trust.keys import ArtifactKey


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return setup.create(tmp_path / "hub", "europe", host="127.0.0.1", bind="127.0.0.1", port=free_ports(3))


@pytest.fixture
def served(settings: Settings) -> Iterator[Settings]:
    hub = HubProcess(settings)
    hub.start()
    yield settings
    hub.stop()


def enrolled(settings: Settings, home: Path, organisation: str) -> Home:
    invited = ("--organisation", organisation, "--role", "contributor")
    token = run("coalition-hub", "invite", str(settings.directory), *invited)["token"]
    run("coalition", "enrol", "--hub", f"127.0.0.1:{settings.port}", "--token", token, home=home)
    return Home(home)


@pytest.mark.system
def test_the_authority_changes_under_a_running_hub_without_an_interruption(served: Settings, tmp_path: Path) -> None:
    old = Authority.load(served.authority_dir).fingerprint
    law, late = (
        enrolled(served, tmp_path / "law", "Law Institute"),
        enrolled(served, tmp_path / "late", "Late Institute"),
    )
    with Coalition(law) as connected:
        new = authorities.rotate(served).fingerprint
        assert connected.whoami().id == "law-institute"  # the open connection
        with Coalition(law) as again:
            assert again.whoami().id == "law-institute"  # the old certificate, a new connection
        connected.renew()
        assert {fingerprint(pem) for pem in split_bundle(law.credentials().authority, "europe")} == {old, new}
        assert connected.whoami().id == "law-institute"
        with pytest.raises(Conflict, match="until"):
            authorities.retire(served)
        assert authorities.retire(served, at_once=True).fingerprint == new
        assert connected.whoami().id == "law-institute"
    with Coalition(law) as again:
        assert again.whoami().id == "law-institute"
        again.renew()
        assert fingerprint(law.credentials().authority) == new
        assert again.whoami().id == "law-institute"
    with Coalition(late) as never_renewed, pytest.raises(Problem):
        never_renewed.whoami()
    assert enrolled(served, tmp_path / "new", "New Institute").enrolled


@pytest.mark.parametrize(
    "cut", ["after the first rename", "before the new certificate", "before the old key is destroyed"]
)
def test_a_retirement_that_was_cut_short_is_finished(settings: Settings, cut: str) -> None:
    new = authorities.rotate(settings).fingerprint
    retired = settings.authority_dir.with_name("ca-retired")
    settings.authority_dir.rename(retired)
    if cut != "after the first rename":
        settings.next_authority_dir.rename(settings.authority_dir)
    if cut == "before the old key is destroyed":
        authorities._renew_server(settings)
    found = Authorities(settings)
    assert found.issuing.fingerprint == fingerprint(found.roots) == new
    assert settings.tls_chain.read_bytes().endswith(found.roots)
    assert not retired.exists()


def test_a_retirement_and_a_hub_that_looks_do_not_get_in_each_others_way(settings: Settings) -> None:
    """The hub finishes a retirement that was cut short. One that is under way is none, however often it looks."""
    done = threading.Event()

    def look() -> int:
        looks = 0
        while not done.is_set():
            Authorities(settings)
            looks += 1
        return looks

    with ThreadPoolExecutor(2) as pool:
        looking = [pool.submit(look) for _ in range(2)]
        try:
            for _ in range(15):
                new = authorities.rotate(settings).fingerprint
                assert authorities.retire(settings, at_once=True).fingerprint == new
        finally:
            done.set()
        assert all(future.result() for future in looking)


def test_a_rotation_is_begun_once_and_ended_once(settings: Settings) -> None:
    with pytest.raises(NotFound):
        authorities.retire(settings)
    authorities.rotate(settings)
    with pytest.raises(Conflict):
        authorities.rotate(settings)
    assert (settings.next_authority_dir / "ca.key").stat().st_mode & 0o077 == 0
    assert set(authorities.status(settings)) == {"present", "present_since", "next", "next_since"}


def test_authorities_are_believed_under_the_statement_key_alone() -> None:
    """Whoever holds a TLS key of the hub, or stands in between, cannot make itself an authority."""
    key, one, two = ArtifactKey.generate(), Authority.create("europe"), Authority.create("europe")
    bundle = one.cert_pem + two.cert_pem
    assert verify_authorities("europe", bundle, sign_authorities("europe", bundle, key), key.public) == (
        one.cert_pem,
        two.cert_pem,
    )
    for hub, told, signer in (
        ("europe", bundle, ArtifactKey.generate()),
        ("asia", bundle, key),
        ("europe", two.cert_pem, key),
    ):
        with pytest.raises(Denied):
            verify_authorities("europe", bundle, sign_authorities(hub, told, signer), key.public)
    _, chain = one.issue_server(["127.0.0.1"])
    for other in (Authority.create("asia").cert_pem, chain, b"rubbish", one.cert_pem * 5):
        with pytest.raises(Invalid):
            verify_authorities("europe", other, sign_authorities("europe", other, key), key.public)
