"""A Slurm of two machines on this one: munged, slurmctld and two slurmd, on loopback and ports of their own."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.training.conftest import free_ports

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "sinfo", "scancel", "srun")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd-%n.log
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,requeue_delay=0
KillWait=1
MessageTimeout=60
NodeName=DEFAULT CPUs={cores} Sockets=1 CoresPerSocket={cores} ThreadsPerCore=1 RealMemory=500
NodeName=machine-[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{second}]
PartitionName=low Nodes=machine-[1-2] Default=YES PriorityTier=1
PartitionName=high Nodes=machine-[1-2] PriorityTier=10
"""


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """SLURM_CONF is set for its time; answers with the directory of its files. Paths are short: sockets need it."""
    missing = [name for name in NEEDED if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        pytest.skip(f"no Slurm on this machine ({', '.join(missing)}): apt-get install slurm-wlm munge")
    if os.getuid() != 0:
        pytest.skip("Slurm's daemons are started as root")
    directory = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    directory.chmod(0o755)
    daemons: list[subprocess.Popen[bytes]] = []
    before = os.environ.get("SLURM_CONF")
    try:
        _munge(directory, daemons)
        _configure(directory)
        os.environ["SLURM_CONF"] = str(directory / "slurm.conf")
        for command in (["slurmctld", "-D"], *(["slurmd", "-D", "-N", f"machine-{n}"] for n in (1, 2))):
            daemons.append(_start([*command, "-f", str(directory / "slurm.conf")], directory))
        _wait(directory)
        yield directory
    finally:
        os.environ.pop("SLURM_CONF")
        if before:
            os.environ["SLURM_CONF"] = before
        for daemon in reversed(daemons):
            _end(daemon)
        shutil.rmtree(directory, ignore_errors=True)


def _munge(directory: Path, daemons: list[subprocess.Popen[bytes]]) -> None:
    folder = directory / "munge"
    folder.mkdir(mode=0o711)
    (folder / "key").write_bytes(random.randbytes(1024))
    for path in (folder, folder / "key"):
        shutil.chown(path, "munge", "munge")
    (folder / "key").chmod(0o400)
    options = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    command = [
        *("runuser", "-u", "munge", "--", "/usr/sbin/munged", "--foreground", "--num-threads=10"),
        *(f"--{option}={folder / name}" for option, name in options.items()),
    ]
    daemons.append(_start(command, directory))
    deadline = time.monotonic() + 20
    while not (folder / "socket").exists():
        assert time.monotonic() < deadline, "munged did not start"
        time.sleep(0.05)


def _configure(directory: Path) -> None:
    for name in ("state", "spool-machine-1", "spool-machine-2"):
        (directory / name).mkdir()
    port = free_ports(3)
    text = CONFIGURATION.format(
        host=socket.gethostname(),
        directory=directory,
        port=port,
        first=port + 1,
        second=port + 2,
        cores=max(1, os.cpu_count() or 1),
    )
    (directory / "slurm.conf").write_text(text)


def _start(command: list[str], directory: Path) -> subprocess.Popen[bytes]:
    with (directory / "daemons.log").open("ab") as log:
        environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )


def _wait(directory: Path) -> None:
    deadline = time.monotonic() + 60
    answer = ""
    while answer.split() != ["idle", "idle"]:
        said = (directory / "daemons.log").read_text()[-3000:]
        assert time.monotonic() < deadline, f"the machines are not up but {answer!r}\n{said}"
        time.sleep(0.2)
        command = ["sinfo", "--noheader", "--Node", "--partition=low", "--format=%t"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


def _end(daemon: subprocess.Popen[bytes]) -> None:
    """With what it started in its session: munged stands behind runuser."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(daemon.pid, number)
            daemon.wait(10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
