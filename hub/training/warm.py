"""A rank's process that has imported torch, DeepSpeed and transformers before it is needed: that is most of the time of coming
back. It has initialised nothing, and serves one rank of one attempt.

`hub.training.rank`, as torchrun starts it, hands over its environment, its output and its job; it ends as the warm process ends,
and takes that along when it is killed. `python -m hub.training.warm SOCKET`
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import chdir, suppress
from pathlib import Path

FOLDER = "COALITION_WARM"
"""In the environment of ranks: where the sockets of warm processes are, each named like the local rank that it is for."""
ARRIVAL = 60.0  # seconds that one which still imports is waited for
_TAKEN, _DONE = b"t", b"d"
_LENGTH = 4  # bytes that say how long an order is
Main = Callable[[str], None]


def hand_over(address: Path, job: str) -> int | None:
    """Let a warm process do a job in the place of this one; answers with the exit code when it has ended, or nothing where there
    is no such process."""
    order = json.dumps({"environment": dict(os.environ), "job": job}).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.settimeout(ARRIVAL)
            with chdir(address.parent):  # the address of a socket may have a hundred characters
                connection.connect(address.name)
            socket.send_fds(connection, [len(order).to_bytes(_LENGTH)], [1, 2])
            connection.sendall(order)
            if connection.recv(1) != _TAKEN:
                return None
        except OSError:
            return None
        connection.settimeout(None)
        with suppress(OSError):
            return 0 if connection.recv(1) == _DONE else 1
        return 1


def serve(address: Path, warm_up: Callable[[], Main]) -> None:
    """Import what `warm_up` imports, and do the one job that is handed over with what it answers. Whoever comes early waits."""
    with socket.socket(socket.AF_UNIX) as listener:
        with chdir(address.parent):
            listener.bind(address.name)
        listener.listen(1)
        main = warm_up()
        connection, _ = listener.accept()
    with connection:
        job = _take(connection)
        threading.Thread(target=_end_with, args=[connection], daemon=True).start()
        try:
            main(job)
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        finally:  # once the connection is closed, this process is killed
            sys.stdout.flush()
            sys.stderr.flush()
        connection.sendall(_DONE)


def _take(connection: socket.socket) -> str:
    """The job; environment and output are its from here on."""
    header, outputs, *_ = socket.recv_fds(connection, _LENGTH, 2)
    left, parts = int.from_bytes(header), list[bytes]()
    while left or not header:
        parts.append(connection.recv(left))
        if not parts[-1]:
            sys.exit("whoever handed over a job is gone")
        left -= len(parts[-1])
    order = json.loads(b"".join(parts))
    for ours, theirs in zip((1, 2), outputs, strict=True):
        os.dup2(theirs, ours)
        os.close(theirs)
    os.environ.clear()
    os.environ.update(order["environment"])
    tempfile.tempdir = None  # by the new environment
    connection.sendall(_TAKEN)
    return str(order["job"])


def _end_with(connection: socket.socket) -> None:
    """Whoever handed over the job has ended or was killed: nobody is to go on without torchrun."""
    with suppress(OSError):
        connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _worker() -> Main:
    from hub.training.worker import main

    return main


if __name__ == "__main__":
    serve(Path(sys.argv[1]), _worker)
