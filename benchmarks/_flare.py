"""NVIDIA FLARE, a contender of `benchmarks.rounds`: its POC deployment, which is provisioned as a real one, on this machine.

A server, the sites and for each job a process more at each of them, over TLS; its FedAvg recipe over one array of the model's
size, which every site sends back as it came. A round is from one site's task to its next.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import time
from pathlib import Path

from benchmarks._rounds import Ends, Peak, Rounds, named

NAME, PACKAGE = "nvflare", "nvflare==2.9.0"
PORT = 8002
"""Of its POC server; it can't be chosen there."""
_PR_SET_CHILD_SUBREAPER = 36
CLIENT = """
import sys

import nvflare.client as flare

flare.init()
first = flare.get_site_name() == "site-1"
while flare.is_running():
    model = flare.receive()
    if model is None:
        break
    if first:
        with open(sys.argv[1], "a") as file:
            file.write("begun\\n")
    flare.send(flare.FLModel(params=model.params, metrics={"accuracy": 0.0}))
"""
JOB = """
import sys

import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe import PocEnv

size, rounds, sites = map(int, sys.argv[1:4])
start, moments = sys.argv[4:]
np.save(start, np.random.default_rng(0).random(size // 4, dtype=np.float32))
recipe = NumpyFedAvgRecipe(
    name="bench", initial_ckpt=start, min_clients=sites, num_rounds=rounds, train_script="client.py", train_args=moments
)
recipe.execute(PocEnv(num_clients=sites)).get_result()
"""


def run_rounds(python: Path, folder: Path, megabytes: float, count: int, sites: int) -> Rounds:
    """So many rounds, all processes started for them and ended after them; `python` has FLARE."""
    ctypes.CDLL(None).prctl(
        _PR_SET_CHILD_SUBREAPER, 1
    )  # its start scripts end, and what they started is counted as ours
    (folder / "client.py").write_text(CLIENT)
    (folder / "job.py").write_text(JOB)
    moments, workspace = folder / "moments", folder / "poc"
    environment = os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    environment |= {"NVFLARE_POC_WORKSPACE": str(workspace), "HOME": str(folder)}
    given = [str(int(megabytes * 1e6)), str(count + 1), str(sites), str(folder / "start.npy"), str(moments)]
    noted = Ends(moved)
    with (folder / "log").open("wb") as log, Peak(lambda: named(f"{workspace}/example_project/prod_00/server")) as peak:
        job = subprocess.Popen([python, "job.py", *given], cwd=folder, env=environment, stdout=log, stderr=log)
        until = time.monotonic() + 1800
        while len(noted) < count + 1:
            assert job.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < until, "FLARE's rounds do not end"
            if moments.exists() and moments.read_text().count("\n") > len(noted):
                noted.note()
            time.sleep(0.02)
        job.wait(300)
    return noted.rounds(peak.bytes)


def moved() -> int:
    """Bytes that the server's connections have carried both ways, as the kernel counts them: those that are still open."""
    listed = ["ss", "--tcp", "--info", "--numeric", "--no-header", "state", "established", f"( sport = :{PORT} )"]
    said = subprocess.run(listed, check=True, capture_output=True, text=True).stdout
    return sum(int(count) for count in re.findall(r"bytes_(?:acked|received):(\d+)", said))
