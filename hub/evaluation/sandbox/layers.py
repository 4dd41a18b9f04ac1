"""What can stand between a suite and the hub's machine, against what the settings demand.

`namespaces`: a tree of files and processes of its own (bubblewrap). `network`: a network namespace without interfaces.
`landlock`: only the files that are needed can be opened. `seccomp`: no sockets, programs, processes or privileged calls.
`limits`: of memory, time, descriptors and files; no capabilities. `cgroup`: a bound on memory and processes together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


def lacking(demands: Sequence[str], standing: Collection[str]) -> list[str]:
    """The demands that are not met. Of a demand like `namespaces|landlock`, one must stand."""
    return [demand for demand in demands if not set(demand.split("|")) & set(standing)]


def refusal(missing: Sequence[str]) -> str:
    """What the hub says instead of evaluating: one sentence, with the way out."""
    words = ", ".join(demand.replace("|", " or ") for demand in missing)
    return (
        f"No suite is evaluated: the sandbox lacks {words}; "
        "an operator who can do without takes it out of `sandbox` in hub.toml."
    )
