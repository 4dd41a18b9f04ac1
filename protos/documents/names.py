"""Names of files are data: what two file systems could read as one file, or one as a device, is refused."""

from __future__ import annotations

from collections.abc import Iterable

from trust.errors import Invalid

_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "clock$"} | {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}
)
"""Names that Windows gives to devices, with any ending (Microsoft, "Naming Files, Paths, and Namespaces")."""


def check_names(paths: Iterable[str]) -> None:
    """Paths that each fit `protos.documents.base.Path`, together. Raises `Invalid` naming the first at fault."""
    files: dict[str, str] = {}
    for path in paths:
        folded = path.casefold()
        for part in folded.split("/"):
            if part.partition(".")[0] in _DEVICES or part.endswith("."):
                raise Invalid(f"The name {path!r} is not a file's everywhere.", "Rename it.", field="files")
        if other := files.get(folded):
            raise Invalid(f"{other!r} and {path!r} are one file where case does not count.", field="files")
        files[folded] = path
    for folded, path in files.items():
        parts = folded.split("/")
        if shadowed := next((files[p] for n in range(1, len(parts)) if (p := "/".join(parts[:n])) in files), ""):
            raise Invalid(f"{shadowed!r} is a file and the folder of {path!r}.", field="files")
