"""What a process does for its keys' sake."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import atexit, ctypes, json, resource, sys
def tell():
    dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
    print(json.dumps([dumpable, resource.getrlimit(resource.RLIMIT_CORE)]))
atexit.register(tell)
sys.argv = ["coalition-hub", "--help"]
from hub.cli import main
main()
"""


def test_a_process_of_the_hub_writes_no_core_and_shows_nobody_its_memory() -> None:
    """Every command may hold keys: a core would lie on the disk with them, and any process of the same user could read them."""
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert json.loads(said.splitlines()[-1]) == [0, [0, 0]]
