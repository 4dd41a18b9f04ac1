"""Law: the licence texts that ScanCode collects."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files

from contributors.demo.passages import Passage
from trust.errors import NotFound


def licences() -> Iterator[Passage]:
    """Every licence text, with the name that its front matter gives it; its group is its owner."""
    try:
        listed = files("licensedcode-data") or []
    except PackageNotFoundError:
        raise NotFound("licensedcode-data is not installed.", "Run `pip install 'coalition[demo]'`.") from None
    for path in sorted(listed):
        if path.suffix == ".LICENSE" and path.parts[1:3] == ("data", "licenses"):
            text = path.read_text("utf-8")
            head, _, body = text.removeprefix("---\n").partition("\n---\n")
            fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
            if len(body.strip()) > 200:
                title = fields.get("name", path.stem).strip("'\"")
                yield Passage(body.strip(), title, fields.get("owner", path.stem))
