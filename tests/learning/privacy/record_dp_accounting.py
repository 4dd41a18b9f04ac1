"""Writes `dp_accounting.json`: what Google's accountants say of Gaussian noise, so that the tests need no package of theirs.

Their newest release asks for attrs below 24, which the lock does not hold.

python -m venv DIR && DIR/bin/pip install dp-accounting==0.6.0
DIR/bin/python tests/learning/privacy/record_dp_accounting.py
"""

from __future__ import annotations

import json
from pathlib import Path

from dp_accounting import ComposedDpEvent, GaussianDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

FILE = Path(__file__).with_name("dp_accounting.json")
ASKED = [
    ([(1, 1.0)], 1e-5),
    ([(10, 1.0)], 1e-5),
    ([(10, 4.0)], 1e-6),
    ([(100, 8.0)], 1e-6),
    ([(3, 0.5)], 1e-5),
    ([(1, 20.0)], 1e-9),
    ([(10, 2.0), (40, 5.0), (1, 1.0)], 1e-6),
]


def main() -> None:
    said = []
    for answers, delta in ASKED:
        event = ComposedDpEvent([SelfComposedDpEvent(GaussianDpEvent(noise), count) for count, noise in answers])
        exact = PLDAccountant(value_discretization_interval=1e-4)
        renyi = RdpAccountant()
        said.append(
            {
                "answers": answers,
                "delta": delta,
                "pld": exact.compose(event).get_epsilon(delta),
                "rdp": renyi.compose(event).get_epsilon(delta),
            }
        )
    FILE.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
