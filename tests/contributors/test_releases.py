"""Releases: cut by the core, downloaded by anyone, verified offline; every byte counts."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from contributors import keychain, releases, signers
from contributors.client import Coalition
from contributors.home import Home
from hub.models.tables import ModelRow
from protos.documents.models import Model
from protos.documents.statements import HUB
from tests.contributors.served import Hub, flip
from tests.hub.conftest import ORIGIN
from trust.bundles import sign_folder
from trust.errors import Conflict, Corrupt, Denied, Invalid, NotFound, Problem
from trust.keys import ArtifactKey, LogKey
from trust.receipts import Receipt

FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": bytes(range(256)) * 20}


@pytest.fixture
def core(hub: Hub) -> Home:
    """A core member, at a hub that has one model."""
    core = hub.home("Core Team", "core")
    blobs = hub.base.blobs
    files = [{"path": path, "digest": blobs.put(data), "size": len(data)} for path, data in FILES.items()]
    hub.base.journal.sign_and_record(
        Model.read(
            {
                "hub": ORIGIN,
                "signer": HUB,
                "model": "tiny-1",
                "origin": "run",
                "source": "run-0123456789ab",
                "payload": "sha256:" + "1" * 64,
                "parameters": 1000,
                "architecture": "llama",
                "files": files,
                "code_version": "0.1.0",
            }
        )
    )
    return core


@pytest.fixture
def folder(hub: Hub, core: Home, tmp_path: Path) -> Path:
    """Release 1.0, downloaded by a viewer."""
    with Coalition(core) as client:
        releases.cut(client, "tiny-1", "1.0")
    with Coalition(hub.home("Public Viewer", "viewer")) as viewer:
        releases.download(viewer, "1.0", tmp_path / "release", lambda n: None)
    return tmp_path / "release"


@pytest.fixture
def stranger(tmp_path: Path) -> Home:
    return Home(tmp_path / "stranger")


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_release_verifies_with_no_hub_running(hub: Hub, folder: Path, core: Home, stranger: Home) -> None:
    hub.stop()
    pinned, alone = releases.verify(folder, core), releases.verify(folder, stranger)
    hub.start()
    assert (pinned.release.version, pinned.release.model, pinned.organisation) == ("1.0", "tiny-1", "Core Team")
    assert pinned.trusted.pinned
    assert not alone.trusted.pinned
    assert pinned.trusted.fingerprint() == alone.trusted.fingerprint()
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    assert "tiny-1" in (folder / "README.md").read_text()


def test_every_byte_counts(folder: Path, stranger: Home) -> None:
    for path in files_of(folder):
        whole = path.read_bytes()
        positions = range(len(whole)) if len(whole) < 400 else sorted(random.Random(2).sample(range(len(whole)), 60))
        for position in [*positions, len(whole) - 1]:
            flip(path, position)
            with pytest.raises(Problem):
                releases.verify(folder, stranger)
            path.write_bytes(whole)
    releases.verify(folder, stranger)


def test_nothing_may_be_missing_or_added(folder: Path, stranger: Home, tmp_path: Path) -> None:
    for path in files_of(folder):
        kept = tmp_path / "kept"
        shutil.move(path, kept)
        with pytest.raises(Problem):
            releases.verify(folder, stranger)
        shutil.move(kept, path)
        with path.open("ab") as file:
            file.write(b"\n")
        with pytest.raises(Problem):
            releases.verify(folder, stranger)
        path.write_bytes(path.read_bytes()[:-1])
    for name in ("modeling.py", ".hidden", "sub/model.bin", "keys/extra.pem", "model.sig.old"):
        added = folder / name
        added.parent.mkdir(exist_ok=True)
        added.write_bytes(b"x")
        with pytest.raises(Corrupt, match="added"):
            releases.verify(folder, stranger)
        added.unlink()
    (folder / "link").symlink_to(folder / "config.json")
    with pytest.raises(Corrupt):
        releases.verify(folder, stranger)
    (folder / "link").unlink()
    releases.verify(folder, stranger)


def test_an_attacker_with_keys_of_its_own_does_not_pass_pinned_ones(folder: Path, core: Home) -> None:
    (folder / "keys" / "ledger.vkey").write_text(LogKey.generate(ORIGIN).public.encode() + "\n")
    with pytest.raises(Denied, match="not those of the hub"):
        releases.verify(folder, core)


def test_a_folder_signed_by_another_key_is_refused(folder: Path, stranger: Home) -> None:
    (folder / "model.sig").write_bytes(sign_folder(folder, ArtifactKey.generate(), releases.UNSIGNED))
    with pytest.raises(Corrupt, match="not the signature that the release statement names"):
        releases.verify(folder, stranger)


def test_an_envelope_with_something_beside_its_signature_is_refused(folder: Path, stranger: Home) -> None:
    path = folder / "keys" / "signer.dsse.json"
    value = json.loads(path.read_bytes())
    path.write_text(json.dumps({**value, "note": "read me"}))
    with pytest.raises(Corrupt, match="not of its statement"):
        releases.verify(folder, stranger)


def test_a_release_by_a_key_that_is_disowned_from_before_it_is_refused_by_the_hubs_readers_and_offline(
    hub: Hub, folder: Path, core: Home, stranger: Home, tmp_path: Path
) -> None:
    """The folder of before knows nothing of it; with what the ledger says of the signer's keys now, it is refused."""
    with Coalition(core) as client:
        entry = client.release("1.0").receipt
        (revocation,) = keychain.revoke(client, "", Receipt.decode(entry.proof).index, "stolen")
    releases.verify(folder, stranger)
    with Coalition(hub.home("Second Viewer", "viewer")) as viewer:
        with pytest.raises(Denied, match="disowns the key that signed it"):
            releases.download(viewer, "1.0", tmp_path / "again", lambda n: None)
        assert not (tmp_path / "again").exists()
        said = signers.proven(viewer, str(Receipt.decode(entry.proof).index))
        releases.keep(folder, said, signers.Signers(viewer).chain(said))
        revoked_at = Receipt.decode(viewer.receipt(revocation).proof).index
    with pytest.raises(Denied, match=f"entry {revoked_at} disowns"):
        releases.verify(folder, stranger)
    for path in (last := max((folder / "keys").glob("signer-?.dsse.json"))).parent.glob(f"{last.name[:8]}.*"):
        path.unlink()  # what is taken out again nobody misses who has the folder alone
    releases.verify(folder, stranger)
    with Coalition(core) as client, pytest.raises(Denied, match=f"entry {revoked_at} disowns"):
        releases.ask(client, folder)


def test_a_release_from_before_its_key_was_disowned_or_replaced_stays_good(
    hub: Hub, folder: Path, core: Home, stranger: Home, tmp_path: Path
) -> None:
    """Also where another member of the core team says so, whose own standing is in the folder then."""
    with Coalition(core) as client:
        keychain.rotate(client)
        releases.cut(client, "tiny-1", "1.1")
    with Coalition(hub.home("Core Two", "core")) as second:
        keychain.revoke_member(second, core.identity().id, "", None, "left")
        for version in ("1.0", "1.1"):
            releases.download(second, version, tmp_path / version, lambda n: None)
    for version in ("1.0", "1.1"):
        assert releases.verify(tmp_path / version, stranger).organisation == "Core Team"
    last = max((tmp_path / "1.0" / "keys").glob("signer-?.dsse.json"))
    (tmp_path / "1.0" / "keys" / "signer-1.dsse.json").write_bytes(last.read_bytes())  # another one in its place
    with pytest.raises(Corrupt, match="not of its statement"):
        releases.verify(tmp_path / "1.0", stranger)


def test_cutting_again_answers_with_what_stands_and_a_version_is_one_models(hub: Hub, folder: Path, core: Home) -> None:
    size = hub.base.log.size
    with Coalition(core) as client:
        assert releases.cut(client, "tiny-1", "1.0").receipt.index == size - 2
        assert hub.base.log.size == size
        with pytest.raises(Conflict, match="is of tiny-1"):
            releases.cut(client, "other-1", "1.0")
        with pytest.raises(NotFound):
            releases.cut(client, "other-1", "2.0")
        with pytest.raises(Invalid, match="version"):
            releases.cut(client, "tiny-1", "../2")


def test_the_core_does_not_sign_other_weights_than_the_ledger_records(hub: Hub, core: Home) -> None:
    """A dishonest hub proposes another file under the model's name."""
    with hub.base.database.session(writing=True) as session:
        row = session.get(ModelRow, "tiny-1")
        assert row is not None
        digest = hub.base.blobs.put(b"other weights")
        row.files = [{**file, "digest": digest} if file["path"] == "model.safetensors" else file for file in row.files]
        session.add(row)
    size = hub.base.log.size
    with Coalition(core) as client, pytest.raises(Corrupt, match="other files than the ledger records"):
        releases.cut(client, "tiny-1", "1.0")
    assert hub.base.log.size == size


def test_only_the_core_cuts(hub: Hub, core: Home) -> None:
    with Coalition(hub.home("Law Institute")) as client, pytest.raises(Denied, match="contributor may not"):
        releases.cut(client, "tiny-1", "1.0")


def test_a_release_is_not_downloaded_over_another(hub: Hub, folder: Path, core: Home) -> None:
    with Coalition(core) as client, pytest.raises(Conflict, match="holds a release already"):
        releases.download(client, "1.0", folder, lambda n: None)


def test_what_is_no_release_is_told(tmp_path: Path, stranger: Home) -> None:
    with pytest.raises(NotFound, match="missing"):
        releases.verify(tmp_path, stranger)
    with pytest.raises(NotFound, match="missing"):
        releases.verify(tmp_path / "nowhere", stranger)


def test_the_public_verifier_of_model_signing_accepts_the_folder(folder: Path) -> None:
    signing = pytest.importorskip("model_signing")
    config = signing.verifying.Config().use_elliptic_key_verifier(public_key=folder / "keys" / "signer.pem")
    config.set_hashing_config(
        signing.hashing.Config().set_ignored_paths(
            paths=[folder / name for name in releases.UNSIGNED], ignore_git_paths=False
        )
    )
    config.verify(folder, folder / "model.sig")
