"""One number for every character: what it is to screening, and its folded form. A table, so that folding is linear.

`unicodedata.normalize` sorts runs of combining marks in quadratic time; a table cannot be made slow by any text.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Codes: TypeAlias = NDArray[np.uint32]

SPACE = 0
SKIPPED = 0xFFFFFFFF  # combining marks, joiners, zero-width and format characters: dropped
LETTER = 1 << 30
ALONE = 1 << 29  # of a script without spaces between words: a word of its own
SIGN = 1 << 28  # punctuation and symbols: part of the text, not of a word

_ALONE = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x4DBF),  # CJK, extension A
    (0x4E00, 0x9FFF),  # CJK
    (0xF900, 0xFAFF),  # CJK, compatibility
    (0x20000, 0x3FFFF),  # CJK, further extensions
)
_UNIFORM = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x20000, 0x3FFFF))
_END = 0x110000


@cache
def table() -> Codes:
    """`table()[code point]`: 0 for white space, `SKIPPED`, or flags and the folded base letter (case, accents and width off)."""
    codes = np.full(_END, SIGN, dtype=np.uint32)
    codes[0xE0000:0xE1000] = SKIPPED  # tags and variation selectors
    for first, last in _UNIFORM:
        codes[first : last + 1] = np.arange(first, last + 1, dtype=np.uint32) | LETTER
    for point in range(0x20000):
        if not any(first <= point <= last for first, last in _UNIFORM):
            codes[point] = _code(chr(point))
    for first, last in _ALONE:
        part = codes[first : last + 1]
        part[(part & LETTER > 0) & (part != SKIPPED)] |= ALONE
    codes.setflags(write=False)
    return codes


def _code(character: str) -> int:
    category = unicodedata.category(character)
    if character.isspace() or category in ("Zs", "Zl", "Zp", "Cc"):
        return SPACE
    if category in ("Mn", "Me", "Cf"):
        return SKIPPED
    base = _base(character)
    if category[0] in "LM":
        return base | LETTER
    return base if category[0] == "N" else base | SIGN


def _base(character: str) -> int:
    """The letter without case, accents and width; itself where that would be more than one."""
    parts = [part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part)]
    folded = parts[0].casefold() if len(parts) == 1 else character.casefold()
    return ord(folded) if len(folded) == 1 else ord(character)
