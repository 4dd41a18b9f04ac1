"""Licences as SPDX expressions (SPDX 2.3, annex D), and which of them a coalition takes.

Parsed by `license-expression`, which carries SPDX's list of licences and exceptions.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from license_expression import ExpressionError, LicenseWithExceptionSymbol, Licensing, get_spdx_licensing
from pydantic import Field

from protos.documents.base import Document
from trust.errors import Invalid

REFERENCE = "LicenseRef-"
"""How a licence is called that stands in no list: its text is with whoever gave it this name."""


class LicencePolicy(Document):
    """Patterns (`*` for any characters) of licences that are taken and refused.

    A licence that is named in full, on either side, is decided by that; else it must match `allowed` and not `denied`.
    By default every licence of the SPDX list is taken but those that forbid commercial use or adaptation: a model that
    was trained on such data could not be released. A licence of another name is unknown, and refused.
    """

    allowed: tuple[str, ...] = Field(default=("*",), max_length=1000)
    denied: tuple[str, ...] = Field(default=("*-NC*", "*-ND*", "*Noncommercial*", f"{REFERENCE}*"), max_length=1000)

    def refusal(self, expression: str) -> str:
        """Why an expression is refused, in a sentence; empty where it is taken. Of `OR` one side is enough."""
        try:
            return self._refusal(_parsed(expression))
        except Invalid as problem:
            return problem.what

    def _refusal(self, node: Any) -> str:
        if isinstance(node, LicenseWithExceptionSymbol):
            return self._of(str(node.license_symbol.key))
        if node.isliteral:
            return self._of(str(node.key))
        refusals = [self._refusal(each) for each in node.args]
        if isinstance(node, _licensing().OR):
            return refusals[0] if all(refusals) else ""
        return next((refusal for refusal in refusals if refusal), "")

    def _of(self, name: str) -> str:
        if name in self.denied:
            return f"The coalition does not take the licence {name}."
        if name in self.allowed:
            return ""
        if name.startswith(REFERENCE) and _matches(name, self.denied):
            return f"The licence {name} stands in no list that the coalition knows; its core team can allow it by name."
        if _matches(name, self.denied) or not _matches(name, self.allowed):
            return f"The coalition does not take the licence {name}."
        return ""


def check_licence(expression: str) -> None:
    """That it is an SPDX expression of known names, or `LicenseRef-` ones. Raises `Invalid`."""
    _parsed(expression)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _parsed(expression: str) -> Any:
    licensing = _licensing()
    try:
        tree = licensing.parse(expression, strict=True)
    except ExpressionError as error:
        raise _wrong(expression, str(error)) from None
    except Exception:  # its parser raises whatever its tokeniser meets
        raise _wrong(expression, "it cannot be read") from None
    if tree is None:
        raise _wrong(expression, "it is empty")
    unknown = [key for key in licensing.unknown_license_keys(tree) if not key.startswith(REFERENCE)]
    if unknown:
        raise _wrong(expression, f"{unknown[0][:80]} is no licence of its list")
    return tree


def _wrong(expression: str, why: str) -> Invalid:
    return Invalid(
        f"{expression[:200]!r} is not an SPDX licence expression: {why.rstrip('.')}.",
        "See spdx.org/licenses.",
        field="licence",
    )


@cache
def _licensing() -> Licensing:
    return get_spdx_licensing()
