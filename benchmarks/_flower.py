"""Flower out of the box, a contender of `benchmarks.rounds`: its SuperLink, its SuperNodes and an app that trains nothing.

As its guides have it, with TLS and authenticated SuperNodes: FedAvg over one array of the model's size, which every site sends
back as it came.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks._relay import Relay
from benchmarks._rounds import Ends, Peak, Rounds, named
from contributors.demo.parties import BIN, Processes, answers, free_ports, run
from contributors.site.keys import site_key
from trust.certificates import Authority
from trust.files import write_atomic, write_private

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "bench"
version = "1.0.0"
license = "Apache-2.0"
[tool.flwr.app]
publisher = "bench"
[tool.flwr.app.components]
serverapp = "bench.app:server"
clientapp = "bench.app:client"
[tool.flwr.app.config]
rounds = 3
bytes = 1000000
moments = ""
members = 3
"""
APP = """
import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

server = ServerApp()
client = ClientApp()


class Timed(FedAvg):
    moments = ""

    def aggregate_train(self, server_round, replies):
        result = super().aggregate_train(server_round, replies)
        with open(self.moments, "a") as file:
            file.write("done\\n")
        return result


@server.main()
def lead(grid: Grid, context: Context) -> None:
    given = context.run_config
    members = given["members"]
    strategy = Timed(fraction_evaluate=0.0, min_train_nodes=members, min_available_nodes=members)
    strategy.moments = given["moments"]
    model = np.random.default_rng(0).random(given["bytes"] // 4, dtype=np.float32)
    strategy.start(grid, ArrayRecord([model]), num_rounds=given["rounds"], timeout=3600)


@client.train()
def train(message: Message, context: Context) -> Message:
    content = {"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(content), reply_to=message)
"""


def run_rounds(folder: Path, megabytes: float, count: int, sites: int) -> Rounds:
    """So many rounds, all processes started for them and ended after them."""
    tls, app, ends = folder / "tls", folder / "app", folder / "moments"
    for each in (tls, app / "bench", folder / "home"):
        each.mkdir(parents=True)
    authority = Authority.create("bench")
    authority.save(tls)
    key, chain = authority.issue_server(["127.0.0.1", "localhost"])
    write_private(tls / "server.key", key)
    write_atomic(tls / "server.crt", chain)
    (app / "pyproject.toml").write_text(PROJECT)
    (app / "bench" / "__init__.py").touch()
    (app / "bench" / "app.py").write_text(APP)
    port = free_ports(2 + sites)
    home = folder / "home"
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "hub"\n[superlink.hub]\naddress = "127.0.0.1:{port}"\n'
        f'root-certificates = "{tls / "ca.crt"}"\n'
    )
    quiet = {"FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0", "PATH": f"{BIN}:{os.environ['PATH']}"}
    with Processes(folder / "logs") as processes, Relay(port + 1, port) as relay:
        certificates = [f"--ssl-ca-certfile={tls / 'ca.crt'}", f"--ssl-certfile={tls / 'server.crt'}"]
        rest = [f"--ssl-keyfile={tls / 'server.key'}", "--enable-supernode-auth", f"--database={folder / 'state.db'}"]
        more = ["--disable-runtime-dependency-installation", "--host=127.0.0.1", f"--port={port}"]
        processes.start("superlink", [BIN / "flower-superlink", *certificates, *rest, *more], **quiet)
        processes.wait_for("the SuperLink", lambda: answers(port), 180)
        for number in range(sites):
            own = site_key(folder / f"site-{number}")
            public = folder / f"site-{number}" / "site.pub"
            public.write_bytes(own.public_line)
            run([BIN / "flwr", "supernode", "register", public, "hub"], **quiet)
            command = [BIN / "flower-supernode", f"--superlink=127.0.0.1:{port + 1}", "--host=127.0.0.1"]
            command += [f"--root-certificates={tls / 'ca.crt'}", f"--auth-supernode-private-key={own.private_path}"]
            processes.start(f"supernode-{number}", [*command, f"--port={port + 2 + number}"], **quiet)
        given = f'rounds={count} bytes={int(megabytes * 1e6)} moments="{ends}" members={sites}'
        run([BIN / "flwr", "run", app, "hub", "--run-config", given], **quiet)
        noted = Ends(lambda: relay.moved)
        with Peak(lambda: named("flower-superlink")) as peak:
            until = time.monotonic() + 1800
            while len(noted) < count:
                assert time.monotonic() < until, "Flower's rounds do not end"
                if ends.exists() and ends.read_text().count("\n") > len(noted):
                    noted.note()
                processes.check()
                time.sleep(0.02)
    return noted.rounds(peak.bytes)
