"""What was found of a suite in which dataset, a line each, so that a look that was cut short goes on where it stood."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from hub.submissions.screening.contamination import FORMAT


class Notes:
    """`told` is the sentence about each dataset that was looked at, empty where there is nothing to say."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"told.{FORMAT}"
        self.told: dict[str, str] = {}
        whole = self._path.read_bytes().rpartition(b"\n")[0] if self._path.exists() else b""
        with suppress(ValueError):  # damaged: what stands before it counts
            for line in whole.splitlines():
                dataset, sentence = json.loads(line)
                self.told[str(dataset)] = str(sentence)
        self._path.write_bytes(b"".join(map(_line, self.told.items())))

    def add(self, dataset: str, sentence: str) -> None:
        self.told[dataset] = sentence
        with self._path.open("ab") as file:
            file.write(_line((dataset, sentence)))


def _line(item: tuple[str, str]) -> bytes:
    return json.dumps(item).encode() + b"\n"
