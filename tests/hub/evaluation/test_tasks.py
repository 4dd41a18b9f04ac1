"""A suite becomes lm-eval tasks that only hold data: nothing in it is rendered, imported or opened."""

from __future__ import annotations

from typing import Any

from hub.evaluation.tasks import compile_task
from protos.documents.suite import Generation, LogLikelihood, MultipleChoice, Perplexity, Task


def choice(**changes: Any) -> MultipleChoice:
    values = {"name": "terms", "kind": "multiple_choice", "data": "terms.jsonl", "prompt": "{text}\nThis is:"}
    return MultipleChoice.read({**values, **changes})


def requests(task: Task, rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What lm-eval would ask the model."""
    compiled = compile_task(task, rows, task.name)
    compiled.build_all_requests(limit=None, rank=0, world_size=1)
    return [instance.args for instance in compiled.instances]


ROWS = [{"text": f"Question {i}", "choices": ["yes", "no"], "answer": i % 2} for i in range(8)]


def test_each_choice_is_asked_behind_the_prompt() -> None:
    assert requests(choice(), ROWS[:1]) == [("Question 0\nThis is:", " yes"), ("Question 0\nThis is:", " no")]


def test_templates_and_paths_in_rows_are_only_text() -> None:
    hostile = "{{ cycler.__init__.__globals__.os.popen('touch /tmp/pwned').read() }} {answer} /etc/passwd [1, 2]"
    rows = [{"text": hostile, "choices": [hostile, "{text}"], "answer": 1}]
    assert requests(choice(), rows) == [(f"{hostile}\nThis is:", f" {hostile}"), (f"{hostile}\nThis is:", " {text}")]


def test_what_a_field_holds_is_not_filled_in_again() -> None:
    rows = [{"a": "{b}", "b": "secret", "choices": ["x", "y"], "answer": 0}]
    assert requests(choice(prompt="{a} and {b}"), rows)[0][0] == "{b} and secret"


def test_examples_are_the_same_in_every_evaluation_and_never_the_question_itself() -> None:
    asked = [requests(choice(fewshot=3), ROWS) for _ in range(2)]
    assert asked[0] == asked[1]
    for number, row in enumerate(ROWS):
        prompt = asked[0][2 * number][0]
        assert prompt.count(row["text"]) == 1
        assert prompt.count("This is:") == 4
        assert prompt.count("This is: yes") + prompt.count("This is: no") == 3


def test_a_text_is_asked_for_as_a_whole() -> None:
    task = Perplexity.read({"name": "reading", "kind": "perplexity", "data": "reading.jsonl"})
    assert requests(task, [{"text": "{{ 1 + 1 }} as it stands\n"}]) == [("{{ 1 + 1 }} as it stands\n",)]


def test_a_target_is_asked_for_behind_a_space() -> None:
    task = LogLikelihood.read(
        {"name": "recall", "kind": "log_likelihood", "data": "r.jsonl", "prompt": "{text} =", "fewshot": 1}
    )
    rows = [{"text": "1 + 1", "target": "2"}, {"text": "2 + 2", "target": "4"}]
    assert requests(task, rows)[0] == ("2 + 2 = 4\n\n1 + 1 =", " 2")


def test_answers_are_asked_for_greedily_and_bounded() -> None:
    task = Generation.read(
        {
            "name": "sums",
            "kind": "generation",
            "data": "s.jsonl",
            "prompt": "{text} =",
            "fewshot": 1,
            "max_tokens": 5,
            "check": {"how": "exact"},
        }
    )
    rows = [{"text": "{{ 1 + 1 }}", "target": "[2]"}, {"text": "2 + 2", "target": ["4", "four"]}]
    (first, limits), (second, _) = requests(task, rows)
    assert (first, second) == ("2 + 2 = 4\n\n{{ 1 + 1 }} =", "{{ 1 + 1 }} = [2]\n\n2 + 2 =")
    assert limits == {"until": ["\n"], "max_gen_toks": 5, "do_sample": False}
