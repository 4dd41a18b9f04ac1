"""A completion's reward under a member's policy: from 0 to 1, with what each rule gave.

Takes linear time in the completion for each rule: a policy's own patterns run in RE2 and its terms are compared word by word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learning.grading import MAX_OUTPUT, credit

_CITED = re.compile(r"\[([A-Za-z0-9][A-Za-z0-9._:-]{0,59})\]")
_WORD = re.compile(r"\w+")
_UNPARTED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Letters of scripts that write no space between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""


@dataclass(frozen=True)
class Reward:
    """`credits` are from 0 to 1, by rule; `refused` names the required rules that gave nothing."""

    value: float
    credits: dict[str, float]
    refused: tuple[str, ...]


def reward(policy: Mapping[str, Any], row: Mapping[str, Any], completion: str) -> Reward:
    """What the completion of a row's prompt is worth: the rules' credits, weighed; 0 where a required rule gives none.

    `policy` is a document of the reward format, as JSON with every field, and `row` one that was checked against it. Only the
    completion's first `grading.MAX_OUTPUT` characters count. Raises `Invalid` for an unknown check.
    """
    completion = completion[:MAX_OUTPUT]
    rules = policy["rules"]
    given = {rule["name"]: _credit(rule["check"], completion, row) for rule in rules}
    refused = tuple(rule["name"] for rule in rules if rule["required"] and not given[rule["name"]])
    total = sum(rule["weight"] for rule in rules)
    value = 0.0 if refused else sum(rule["weight"] * given[rule["name"]] for rule in rules) / total
    return Reward(value, given, refused)


def _credit(check: Mapping[str, Any], completion: str, row: Mapping[str, Any]) -> float:
    match check["how"]:
        case "contains":
            return float(contains(completion, check["texts"], every=check["which"] == "all"))
        case "forbidden":
            return float(not named(completion, check["terms"]))
        case "length":
            return float(check["least"] <= length(completion, check["unit"]) <= check["most"])
        case "citation":
            return float(cites(completion, row[check["sources"]], check["least"]))
    return credit(check, completion, row)


def contains(completion: str, texts: Sequence[str], *, every: bool) -> bool:
    """Whether all (or any) of the texts stand in the completion, whatever their case."""
    folded = completion.casefold()
    return (all if every else any)(text.casefold() in folded for text in texts)


def named(completion: str, terms: Sequence[str]) -> list[str]:
    """The terms that stand in the completion as whole words one after another, whatever their case and what parts the words; in
    scripts without spaces, anywhere."""
    said = _words(completion)
    return [term for term in terms if (_words(term).strip() if _UNPARTED.search(term) else _words(term)) in said]


def length(completion: str, unit: str) -> int:
    """In characters, or in words, which white space parts."""
    return len(completion) if unit == "characters" else len(completion.split())


def cites(completion: str, sources: Sequence[str], least: int) -> bool:
    """Whether the completion names, as [name], at least `least` different sources of these and no other."""
    cited = set(_CITED.findall(completion))
    return cited <= set(sources) and len(cited) >= least


def _words(text: str) -> str:
    """Every word folded (compatibility forms and case), with a space on both sides."""
    return f" {' '.join(_WORD.findall(unicodedata.normalize('NFKC', text).casefold()))} "
