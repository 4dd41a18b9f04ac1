"""What one member's flood does to another member: how long it waits alone, while somebody floods another hub on this machine, and
while somebody floods its own hub.

    python -m benchmarks.fairness [--reads 400] [--uploads 60]

The flood is eight callers without pause, who ignore what they are told to wait, and two that upload without end. Flooding
another hub keeps the processors as busy, so the ratio of the last two is what the hub's turns and rates leave through.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import grpc

from benchmarks._hub import Served, serving
from benchmarks._measure import percentile
from benchmarks.upload import make_file, send
from contributors.client import Coalition
from contributors.home import Home
from protos.coalition.v1 import members_pb2, members_pb2_grpc, submissions_pb2, submissions_pb2_grpc
from trust.errors import Problem

CALLERS, SENDERS = 8, 2
FLOOD_MB = 32


def flood(folder: Path) -> None:
    """Until killed."""
    with Coalition(Home(folder)) as member:
        threads = [threading.Thread(target=_call_on, args=(member,), daemon=True) for _ in range(CALLERS)]
        threads += [threading.Thread(target=_send_on, args=(member, folder, n), daemon=True) for n in range(SENDERS)]
        for thread in threads:
            thread.start()
        print("flooding", flush=True)
        threading.Event().wait()


def _call_on(member: Coalition) -> None:
    people, data = members_pb2_grpc.MembersStub(member.channel), submissions_pb2_grpc.SubmissionsStub(member.channel)
    while True:
        for call, question in (
            (people.ListMembers, members_pb2.ListMembersRequest()),
            (data.ListSubmissions, submissions_pb2.ListSubmissionsRequest()),
        ):
            try:
                call(question, timeout=10)
            except grpc.RpcError:
                continue


def _send_on(member: Coalition, folder: Path, number: int) -> None:
    path = folder / f"flood-{number}"
    for round_ in count():
        make_file(path, FLOOD_MB << 20, number * 10_000 + round_)
        try:
            send(member, path, f"flood-{number}-{round_}")
        except (Problem, grpc.RpcError):
            time.sleep(0.05)  # refused: it has too many open


def waits(act: Callable[[int], object], times: int) -> list[float]:
    """Milliseconds of each."""
    found = []
    for number in range(times):
        began = time.perf_counter()
        act(number)
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(0.01)  # a quiet member
    return found


def quiet(member: Coalition, folder: Path, options: argparse.Namespace, name: str) -> dict[str, list[float]]:
    path = folder / "small"

    def upload(number: int) -> None:
        make_file(path, 1 << 20, 1_000_000 + number)
        send(member, path, f"{name}-{number}")

    return {
        "a read": waits(lambda _: member.whoami(), options.reads),
        "an upload of 1 MiB": waits(upload, options.uploads),
    }


def measure(hub: Served, other: Served, options: argparse.Namespace) -> None:
    figures: dict[str, dict[str, list[float]]] = {}
    with hub.member("quiet") as member:
        figures["alone"] = quiet(member, hub.directory, options, "alone")
        for name, flooded in (("elsewhere", other), ("here", hub)):
            home = flooded.home(f"flood-{name}")
            command = [sys.executable, "-m", "benchmarks.fairness", "--flood", str(home.directory)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                try:
                    assert process.stdout is not None
                    process.stdout.readline()
                    time.sleep(2)  # the flood's burst is spent
                    figures[name] = quiet(member, hub.directory, options, name)
                finally:
                    process.kill()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; milliseconds, half and 99 of 100 at most:")
    for kind in figures["alone"]:
        told = {name: (percentile(each[kind], 0.5), percentile(each[kind], 0.99)) for name, each in figures.items()}
        row = ", ".join(f"{name} {half:.1f} and {most:.1f}" for name, (half, most) in told.items())
        print(f"{kind}: {row}; here / elsewhere: {told['here'][1] / told['elsewhere'][1]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, default=400)
    parser.add_argument("--uploads", type=int, default=60)
    parser.add_argument("--flood", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flood:
        flood(options.flood)
        return
    with tempfile.TemporaryDirectory(prefix="coalition-bench-") as folder:
        (Path(folder) / "a").mkdir()
        (Path(folder) / "b").mkdir()
        many = {"quota_open": 1000, "quota_bytes": 1 << 40}  # what the flood may have open is not what is measured
        with serving(Path(folder) / "a", **many) as hub, serving(Path(folder) / "b", **many) as other:
            measure(hub, other, options)


if __name__ == "__main__":
    main()
