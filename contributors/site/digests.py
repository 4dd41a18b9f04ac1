"""The digests of the site's files, remembered: a file is hashed again when its size or its time of change is another."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from protos.documents.base import DigestText, Document
from trust.digests import Digest, digest_file
from trust.errors import Invalid
from trust.files import write_atomic


class Hashed(Document):
    """A file as it was when it was hashed; `size` in bytes, `changed` in nanoseconds since 1970."""

    size: int
    changed: int
    digest: DigestText


class FileDigests:
    """`memory` is where they are kept; several processes of the site may use it at a time."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, Hashed] = {}
        if memory.exists():
            self._known = {path: Hashed.read(value) for path, value in json.loads(memory.read_bytes()).items()}

    def of(self, files: Iterable[Path]) -> dict[Path, Digest]:
        """In the order given; other files are forgotten. Raises `Invalid` for one that cannot be read."""
        now = {str(path): self._hashed(path) for path in files}
        if now != self._known:
            self._known = now
            self._memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(
                self._memory, json.dumps({path: each.model_dump(mode="json") for path, each in now.items()}).encode()
            )
        return {Path(path): Digest(each.digest) for path, each in now.items()}

    def _hashed(self, path: Path) -> Hashed:
        try:
            seen = path.stat()
            known = self._known.get(str(path))
            if known is not None and (known.size, known.changed) == (seen.st_size, seen.st_mtime_ns):
                return known
            return Hashed(size=seen.st_size, changed=seen.st_mtime_ns, digest=digest_file(path))
        except OSError as error:
            raise Invalid(f"{path} cannot be read: {error.strerror}.") from None
