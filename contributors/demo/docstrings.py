"""Software and science: what Python sources say about themselves, read without importing anything."""

from __future__ import annotations

import ast
import inspect
import sysconfig
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from contributors.demo.passages import Passage
from trust.errors import NotFound

MINIMUM = 120  # characters
_SKIPPED = {"test", "tests", "idlelib", "site-packages", "lib2to3", "benchmarks", "_build_utils"}


def standard_library() -> Iterator[Passage]:
    """Docstrings of CPython's standard library, and the topics of its interactive help."""
    yield from _topics()
    yield from _folder(Path(sysconfig.get_paths()["stdlib"]))


def scientific() -> Iterator[Passage]:
    """Docstrings of SciPy, NumPy and SymPy."""
    for package in ("scipy", "numpy", "sympy"):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise NotFound(f"{package} is not installed.", "Run `pip install 'coalition[demo]'`.")
        yield from _folder(Path(spec.origin).parent)


def _topics() -> Iterator[Passage]:
    from pydoc_data.topics import topics

    for name, text in sorted(topics.items()):
        yield Passage(f"{name}: {text.strip()}", name, "topics")


def _folder(root: Path) -> Iterator[Passage]:
    for path in sorted(root.rglob("*.py")):
        if _SKIPPED.isdisjoint(path.relative_to(root).parts[:-1]) and not path.name.startswith("test_"):
            yield from _module(path, ".".join([root.name, *path.relative_to(root).with_suffix("").parts]))


def _module(path: Path, module: str) -> Iterator[Passage]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's docstrings
            tree = ast.parse(path.read_text("utf-8"))
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            text = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
            if len(text) >= MINIMUM:
                yield Passage(f"{node.name}: {text}", node.name, module)
