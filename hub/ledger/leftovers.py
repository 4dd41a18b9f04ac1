"""What an append that was cut short leaves in the log's folder: tiles and bundles beyond the signed size."""

from __future__ import annotations

import shutil
from pathlib import Path

from trust.tiles import LEVELS, WIDTH, entries_path, tile_path

TOP = 64 // LEVELS  # tile levels of the largest tree


def remove_beyond(directory: Path, size: int) -> None:
    """Remove every file that a tree of `size` entries does not have. Nobody was ever told of them."""
    _remove_after(directory / entries_path(size // WIDTH), directory / "tile" / "entries", size % WIDTH)
    for level in range(TOP):
        count = size >> (LEVELS * level)
        _remove_after(directory / tile_path(level, count // WIDTH), directory / "tile" / str(level), count % WIDTH)


def _remove_after(tile: Path, top: Path, width: int) -> None:
    """`tile` is the one at the edge, of which `width` entries count. Names sort as the numbers that they spell."""
    partials = tile.with_name(f"{tile.name}.p")
    for path in [tile, *tile.parents]:
        if path == top:
            break
        for other in path.parent.glob("*"):
            if other.name > path.name and other != partials:
                _remove(other)
    _remove(tile)
    for partial in partials.glob("*"):
        if int(partial.name) > width:
            _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
