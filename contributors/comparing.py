"""Two models by the items that both answered: every suite that evaluated both, from the logs that the ledger names.

Nothing is taken from what the hub shows: evaluations are read as it signed them, and what is compared follows from their
per-item logs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contributors.client import Coalition
from contributors.recheck import recomputed, statement, suite_files
from learning.comparison import LEVEL, Difference, difference, gains, holm
from protos.documents.evaluations import MAX_LOG, Evaluation, Sample, read_log
from protos.documents.suite_files import read_suite, task_rows
from trust.errors import Corrupt, NotFound


@dataclass(frozen=True)
class Item:
    """One that the two answered differently: by how much the second was better, and what it asked, where we may read it."""

    number: int
    gain: float
    first: Sample
    second: Sample
    row: Mapping[str, object] | None = None


@dataclass
class Task:
    """One task of both. `p` is adjusted for all tasks that were looked at."""

    suite: str
    name: str
    metric: str
    values: tuple[float, float]
    difference: Difference
    items: list[Item]
    p: float = 1.0

    @property
    def verdict(self) -> str:
        if self.p > 1 - LEVEL:
            return "not told apart"
        return "better" if self.difference.gain > 0 else "worse"


@dataclass
class Comparison:
    """The tasks that both were scored on, and why others were left out."""

    tasks: list[Task] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def compare(hub: Coalition, first: str, second: str, examples: int = 0) -> Comparison:
    """`examples`: of each task so many items at most that the second won most by, and as many that it lost.

    Raises `NotFound` where no suite evaluated both, and `Corrupt` for scores that do not follow from their log.
    """
    found = Comparison()
    one, other = _evaluations(hub, first), _evaluations(hub, second)
    shared = [suite for suite in one if suite in other]
    if not shared:
        raise NotFound(f"No suite has evaluated both {first} and {second}.", "See `coalition eval list`.")
    for suite in shared:
        (name, a), (_, b) = one[suite], other[suite]
        try:
            logs = _samples(hub, a), _samples(hub, b)
        except NotFound:
            found.left_out.append(f"{name}: its per-item logs are its owner's alone.")
            continue
        tasks = _tasks(name, (a, b), logs, examples)
        if examples:
            _show_rows(hub, a, tasks)
        found.tasks += tasks
    for task, p in zip(found.tasks, holm([task.difference.p for task in found.tasks]), strict=True):
        task.p = p
    return found


def _evaluations(hub: Coalition, model: str) -> dict[str, tuple[str, Evaluation]]:
    """(the suite's name, what the hub signed) of a model's evaluations that have scores, by the suite's digest."""
    found: dict[str, tuple[str, Evaluation]] = {}
    for shown in hub.evaluations(model=hub.model(model).id).evaluations:
        if not shown.id or not shown.scores:
            continue
        claim = statement(hub, shown.id)
        if not isinstance(claim, Evaluation) or claim.model != model:
            raise Corrupt(f"The ledger's {shown.id} is no evaluation of {model}.")
        found[claim.suite_payload] = shown.suite_name, claim
    return found


def _samples(hub: Coalition, claim: Evaluation) -> dict[str, list[Sample]]:
    """The items of each task, in order. Raises `NotFound` where they are not for us."""
    samples = read_log(hub.blob(str(claim.samples), MAX_LOG))
    for problem in recomputed(claim, samples):
        raise Corrupt(f"{claim.model}: {problem}", "See `coalition eval verify`.")
    tasks: dict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.item):
        tasks[sample.task].append(sample)
    return tasks


def _tasks(
    suite: str,
    claims: tuple[Evaluation, Evaluation],
    logs: tuple[Mapping[str, Sequence[Sample]], Mapping[str, Sequence[Sample]]],
    examples: int,
) -> list[Task]:
    second = {score.task: score for score in claims[1].scores}
    found = []
    for score in claims[0].scores:
        if score.task not in second:
            continue
        answers = logs[0][score.task], logs[1][score.task]
        gained, sizes = gains(score.metric, *answers)
        values = score.value, second[score.task].value
        shown = _furthest(gained, *answers, examples)
        found.append(Task(suite, score.task, score.metric, values, difference(gained, sizes), shown))
    return found


def _furthest(gained: Sequence[float], first: Sequence[Sample], second: Sequence[Sample], count: int) -> list[Item]:
    """The items that the second won most by, then those it lost most by."""
    order = sorted(range(len(gained)), key=lambda place: gained[place])
    won = [place for place in reversed(order[-count:] if count else []) if gained[place] > 0]
    lost = [place for place in order[:count] if gained[place] < 0]
    return [Item(first[place].item, gained[place], first[place], second[place]) for place in (*won, *lost)]


def _show_rows(hub: Coalition, claim: Evaluation, tasks: Sequence[Task]) -> None:
    """What the items ask, where we may read the suite."""
    files = suite_files(hub, claim)
    if files is None:
        return
    forms = {form.name: form for form in read_suite(files).tasks}
    for task in tasks:
        rows = task_rows(forms[task.name], files[forms[task.name].data])
        task.items = [Item(item.number, item.gain, item.first, item.second, rows[item.number]) for item in task.items]
