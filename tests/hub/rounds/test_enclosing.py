"""A task and its files come out at a site as they went in, whether they are small or large."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.app import RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from contributors.site.clientapp import files_of, read_task
from hub.rounds import enclosing
from hub.rounds.enclosing import enclosed, mapped, pieces
from protos.documents.base import FileEntry
from protos.documents.campaigns import CampaignSpec
from protos.documents.methods import LocalTraining
from protos.documents.rounds import RoundTask
from trust.digests import digest_bytes

TRAINING = LocalTraining(steps=1, batch_size=1, sequence_length=16, learning_rate=0.1)
SPEC = CampaignSpec(name="rounds", base_model="tiny-1", rounds=1, minimum_members=1, training=TRAINING)


@pytest.mark.parametrize("at_once", [1 << 20, 100])  # beside the document, or as an array
def test_files_come_out_as_they_went_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(enclosing, "AT_ONCE", at_once)
    files = {"config.json": b"{}", "empty": b"", "model.safetensors": bytes(range(250)) * 40, "more": b"the end"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    entries = tuple(FileEntry(path=name, digest=digest_bytes(data), size=len(data)) for name, data in files.items())
    task = RoundTask(campaign="campaign-a", round=1, spec=SPEC, files=entries)
    content = enclosed(task, {name: mapped(tmp_path / name) for name in files})
    travels = {name: each.deflate() for name, each in get_all_nested_objects(content).items()}
    arrived = inflate_object_from_contents(content.object_id, travels)
    assert isinstance(arrived, RecordDict)
    assert read_task(arrived) == task
    assert files_of(arrived, task) == files


@pytest.mark.parametrize("size", [1, 3, 5, 16, 100])
def test_pieces_are_of_one_size_but_for_the_last(size: int) -> None:
    views = [memoryview(part) for part in (b"abc", b"", b"defghijklm", b"n", b"op")]
    found = list(pieces(views, size))
    assert b"".join(found) == b"abcdefghijklmnop"
    assert {len(piece) for piece in found[:-1]} <= {size}
    assert 0 < len(found[-1]) <= size
