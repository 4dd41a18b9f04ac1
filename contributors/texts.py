"""Which files of a folder are a member's text."""

from __future__ import annotations

from pathlib import Path

from trust.errors import NotFound

SUFFIXES = (".jsonl", ".txt", ".md", ".parquet")
"""Of the files in a folder, these are taken; their content says how they are read."""


def size_of_texts(source: Path) -> int:
    """Bytes of the files that `sort_files` finds."""
    return sum(path.stat().st_size for path in sort_files(source)[0])


def sort_files(source: Path) -> tuple[list[Path], list[str]]:
    """Files with text in the order of their names, and the names of the others. Hidden files are nobody's business."""
    if not source.exists():
        raise NotFound(f"There is nothing at {source}.")
    if source.is_file():
        return [source], []
    texts, others = [], []
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_dir() or any(part.startswith(".") for part in name.parts):
            continue
        if path.is_symlink() or path.suffix not in SUFFIXES or not path.stat().st_size:
            others.append(name.as_posix())
        else:
            texts.append(path)
    return texts, others
