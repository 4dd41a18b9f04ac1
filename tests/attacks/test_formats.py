"""Files that would run code, fill the memory or read as something else. All are refused by their content."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import select
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from safetensors.torch import save

from protos.formats import safetensors
from protos.formats.jsonl import MAX_LINE
from protos.formats.recognition import recognise
from protos.formats.texts import text_rows
from trust.errors import Invalid

NAMES = ("data.jsonl", "data.parquet", "data.txt", "model.safetensors", "data.pkl")
FEW = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


class _Runs:
    """What a pickle can do: name any function and call it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('a pickle ran')",))


def _torch_file() -> bytes:
    file = io.BytesIO()
    torch.save({"weight": torch.ones(3)}, file)
    return file.getvalue()


def _legacy_torch_file() -> bytes:
    file = io.BytesIO()
    torch.save({"weight": torch.ones(3)}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def _bad_crc(data: bytes) -> bytes:
    """An archive whose checksums are wrong, which some scanners skip and torch still reads."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        crc = archive.infolist()[0].CRC.to_bytes(4, "little")
    return data.replace(crc, b"\0\0\0\0")


def _tar(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("data.jsonl")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


CODE: dict[str, bytes] = {
    **{f"a pickle of protocol {number}": pickle.dumps(_Runs(), number) for number in range(6)},
    **{
        f"plain values pickled, protocol {number}": pickle.dumps([{"text": "a"}, [1, 2]], number) for number in range(6)
    },
    "a pickle by hand": b"cos\nsystem\n(S'true'\ntR.",
    "a torch file": _torch_file(),
    "a torch file of the old kind": _legacy_torch_file(),
    "a torch file with wrong checksums": _bad_crc(_torch_file()),
    "a pickle in a tar": _tar(pickle.dumps(_Runs())),
    "a pickle in a gzip": gzip.compress(pickle.dumps(_Runs())),
    "a script": b"#!/bin/sh\ntrue\n",
    "a program": b"\x7fELF" + bytes(60),
    "a NumPy file of objects": b"\x93NUMPY\x01\x00" + bytes(100),
    "bytes that are nothing": bytes(range(256)) * 4,
    "nothing": b"",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", CODE)
def test_attack_03_what_could_run_is_refused_whatever_it_is_called(tmp_path: Path, kind: str, name: str) -> None:
    """3: pickles of every protocol, torch files (also with wrong checksums), archives, scripts, under any extension: refused
    by content, in one sentence that names the file; nothing is unpickled."""
    (tmp_path / "file").write_bytes(CODE[kind])
    with pytest.raises(Invalid, match=name):
        list(text_rows(tmp_path / "file", name))


def test_attack_03_a_pickle_in_parquet_metadata_is_only_bytes(tmp_path: Path) -> None:
    """3: what stands in a Parquet file's key-value metadata (pandas puts types there) is never looked at."""
    table = pyarrow.table({"text": ["a"]}).replace_schema_metadata({b"pandas": pickle.dumps(_Runs())})
    parquet.write_table(table, tmp_path / "file")
    assert [row for _, row in text_rows(tmp_path / "file", "a.parquet")] == [{"text": "a"}]


def test_attack_03_nothing_of_ours_unpickles() -> None:
    """3: no module of the packages uses a reader that unpickles; arrays are read with `allow_pickle=False` only."""
    readers = r"pickle\.loads?\b|np\.load\((?!.*allow_pickle=False)|joblib|shelve|marshal\.load|torch\.load\("
    found = subprocess.run(
        ["git", "grep", "-lP", readers, "--", "*.py", ":!tests"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.split() == []


@pytest.mark.parametrize("text", ["cat\ndog\n", "(see below)\n.", "I. One\n.", "Notes.\n", "c", "N.", "0.", "."])
def test_attack_03_short_plain_text_is_not_taken_for_a_pickle(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    assert recognise(tmp_path / "file", "a.txt") == "text"


# --- 25: bombs ---------------------------------------------------------------------------------------------------------


def _bounded(path: Path, megabytes: int) -> str:
    """Read a file in a process that may use so much memory (children included); what it said."""
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom protos.formats.texts import text_rows\n"
        f"resource.setrlimit(resource.RLIMIT_DATA, ({megabytes << 20},) * 2)\n"
        "try:\n    print(sum(1 for _ in text_rows(Path(sys.argv[1]), 'bomb')))\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    said, peak = done.stdout.rsplit("\n", 2)[:2]
    assert int(peak) >> 10 < megabytes
    return said


def _deep_json() -> bytes:
    return b'{"text": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"


def _dictionary_bomb(path: Path) -> None:
    parquet.write_table(pyarrow.table({"text": pyarrow.array(["x" * 1_000_000] * 2000)}), path)


def _page_bomb(path: Path) -> None:
    table = pyarrow.table({"text": pyarrow.array(["x" * 3_000_000] * 100)})
    parquet.write_table(table, path, use_dictionary=False, compression="zstd")


def _null_bomb(path: Path) -> None:
    parquet.write_table(pyarrow.table({"text": pyarrow.nulls(40_000_000, pyarrow.string())}), path)


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda path: path.write_bytes(_deep_json()), "32 levels"),
        (lambda path: path.write_bytes(b'{"text": "' + b"x" * (MAX_LINE + 1) + b'"}'), "longer than"),
        (lambda path: path.write_bytes(b"x" * (MAX_LINE + 1)), "more than"),
        (lambda path: path.write_bytes(b'{"text": "a", "n": ' + b"9" * 1_000_000 + b"}"), "not JSON"),
        (_dictionary_bomb, "times the file's size"),
        (_null_bomb, "40000000 rows, more than a file of its size may"),
        (_page_bomb, "not readable as Parquet"),
    ],
)
def test_attack_25_a_bomb_is_refused_in_bounded_memory(tmp_path: Path, write: Callable[[Path], Any], why: str) -> None:
    """25: JSON a million levels deep, endless lines and numbers, Parquet whose pages or dictionary unpack to gigabytes: the
    reader refuses with one sentence and never holds more than a few of the largest allowed rows."""
    write(tmp_path / "bomb")
    assert why in _bounded(tmp_path / "bomb", 400)


def test_attack_25_a_reader_of_parquet_dies_with_who_asked_and_has_so_much_time(tmp_path: Path) -> None:
    """25: a file that takes for ever keeps a processor busy for no longer than its size allows, and nobody's reader is left."""
    parquet.write_table(pyarrow.table({"text": [f"text {n}" for n in range(900_000)]}), tmp_path / "long")
    code = (
        "import sys\nfrom pathlib import Path\nfrom protos.formats.texts import text_rows\n"
        "rows = text_rows(Path(sys.argv[1]), 'long')\nnext(rows)\nimport os\n"
        "task = f'/proc/self/task/{os.getpid()}/children'\nchild = int(open(task).read().split()[0])\n"
        "limits = open(f'/proc/{child}/limits').read()\n"
        "print(child, limits.split('Max cpu time')[1].split()[0], flush=True)\nsys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "long")]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child, seconds = map(int, parent.stdout.readline().split())
    watched = os.pidfd_open(child)
    parent.kill()
    parent.communicate()
    ending = select.poll()
    ending.register(watched, select.POLLIN)
    assert ending.poll(30_000), "the reader lives on"
    os.close(watched)
    assert 60 <= seconds <= 200


@FEW
@given(st.data())
def test_attack_25_a_damaged_parquet_file_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    """25: whatever bytes change (lengths in page headers and in the footer among them), the answer is rows or a refusal."""
    file = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["some words"] * 50}), file)
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "file").write_bytes(bytes(content))
    with suppress(Invalid):
        assert all(row["text"] for _, row in text_rows(tmp_path / "file", "a.parquet"))


# --- 26: safetensors headers -------------------------------------------------------------------------------------------


def _file(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def _tensor(begin: int, end: int, dtype: str = "U8", shape: list[Any] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


BAD_TENSORS: dict[str, bytes] = {
    "a header of 2^63 bytes": _file({}, length=1 << 63),
    "a header over the file's end": _file({"a": _tensor(0, 4)}, bytes(4), length=1000),
    "a header over the limit": _file(b" " * (safetensors.MAX_HEADER + 1)),
    "a header of no bytes": _file(b""),
    "no JSON": _file(b"{]", bytes(4)),
    "a list": _file([], bytes(4)),
    "a name twice": _file(b'{"a":%s,"a":%s}' % (json.dumps(_tensor(0, 1)).encode(), json.dumps(_tensor(1, 2)).encode()), b"12"),
    "overlapping tensors": _file({"a": _tensor(0, 4), "b": _tensor(2, 6)}, bytes(6)),
    "the same bytes twice": _file({"a": _tensor(0, 4), "b": _tensor(0, 4)}, bytes(4)),
    "a gap": _file({"a": _tensor(0, 4), "b": _tensor(5, 6)}, bytes(6)),
    "offsets past the end": _file({"a": _tensor(0, 8)}, bytes(4)),
    "bytes that no tensor names": _file({"a": _tensor(0, 4)}, bytes(5)),
    "offsets turned around": _file({"a": {"dtype": "U8", "shape": [], "data_offsets": [4, 0]}}, bytes(4)),
    "negative offsets": _file({"a": _tensor(-4, 0)}, bytes(4)),
    "an unknown dtype": _file({"a": _tensor(0, 4, "O")}, bytes(4)),
    "another shape": _file({"a": _tensor(0, 4, "F32", [2])}, bytes(4)),
    "a shape that overflows": _file({"a": _tensor(0, 0, "U8", [1 << 62, 1 << 62, 4])}, b""),
    "a shape that wraps to its size": _file({"a": _tensor(0, 0, "U8", [1 << 32, 1 << 32])}, b""),
    "a negative shape": _file({"a": _tensor(0, 4, "U8", [-4])}, bytes(4)),
    "a shape of floats": _file({"a": _tensor(0, 4, "U8", [4.0])}, bytes(4)),
    "a shape of truths": _file({"a": _tensor(0, 1, "U8", [True])}, bytes(1)),
    "a thousand dimensions": _file({"a": _tensor(0, 1, "U8", [1] * 1000)}, bytes(1)),
    "a key more": _file({"a": {**_tensor(0, 4), "code": "x"}}, bytes(4)),
    "metadata that is no text": _file({"__metadata__": {"a": 1}, "a": _tensor(0, 4)}, bytes(4)),
    "a header a million levels deep": _file(b'{"a":' + b"[" * 1_000_000 + b"}"),
    "a pickle behind a good header": _file({"a": _tensor(0, 4)}, bytes(4) + pickle.dumps(_Runs())),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_TENSORS)
def test_attack_26_a_bad_safetensors_header_is_refused(tmp_path: Path, kind: str) -> None:
    """26: header bombs, overlaps, gaps, wrong sizes, unknown dtypes, names twice: refused after reading at most the header."""
    (tmp_path / "file").write_bytes(BAD_TENSORS[kind])
    with pytest.raises(Invalid, match="m"):
        safetensors.header(tmp_path / "file", "m")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_attack_26_what_is_accepted_the_reference_accepts_alike(tmp_path: Path, data: st.DataObject) -> None:
    """26: any mutation is refused, or read with the same names and shapes as the format's own library reads it."""
    content = bytearray(save({"a": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.float16)}))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "file"
    path.write_bytes(bytes(content))
    try:
        mine = {name: list(tensor.shape) for name, tensor in safetensors.header(path, "m").items()}
    except Invalid:
        return
    from safetensors import safe_open

    with safe_open(path, "pt") as reference:
        assert {name: reference.get_slice(name).get_shape() for name in reference.keys()} == mine  # noqa: SIM118


@pytest.mark.parametrize("after", [b"\nhello world", b"x" * (1 << 17)], ids=["words", "much"])
def test_attack_03_what_follows_a_pickle_hides_nothing(tmp_path: Path, after: bytes) -> None:
    """3: an unpickler stops at the opcode STOP, and so does the look at a file."""
    path = tmp_path / "notes.txt"
    path.write_bytes(pickle.dumps(["a", {"b": 1}], protocol=0) + after)
    with pytest.raises(Invalid, match="pickle"):
        recognise(path, path.name)
