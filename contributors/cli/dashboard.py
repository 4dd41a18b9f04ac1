"""`coalition dashboard`: the leaderboard and consoles in a browser."""

from __future__ import annotations

import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from contributors.cli.session import our_home
from contributors.cli.terminal import say
from trust.errors import Conflict, NotFound


def dashboard(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for a free one.")] = 8501,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = False,
) -> None:
    """Serve the dashboard on this machine, with your identity, until Ctrl-C."""
    home = our_home()
    identity = home.identity()
    spec = find_spec("dashboards")
    if spec is None or spec.origin is None or find_spec("streamlit") is None:
        raise NotFound("The dashboard is not installed.", "Run `pip install 'coalition[dashboard]'`.")
    folder = Path(spec.origin).parent
    chosen = _free_port(port)
    say(f"Dashboard of {identity.hub}: http://127.0.0.1:{chosen}")
    command = [sys.executable, "-m", "streamlit", "run", str(folder / "app.py"), "--server.port", str(chosen)]
    command += ["--server.address", "127.0.0.1", "--server.headless", "false" if browser else "true"]
    command += ["--browser.gatherUsageStats", "false"]
    # Streamlit reads its theme from the working directory's .streamlit/config.toml. It replaces this process, so that
    # whoever stops us stops it.
    os.chdir(folder)
    os.execve(sys.executable, command, {**os.environ, "COALITION_HOME": str(home.directory)})  # noqa: S606


def _free_port(asked: int) -> int:
    """The port that was asked for, or for 0 any that is free. Raises `Conflict` for one that is taken."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", asked))
        except OSError as error:
            what = f"Port {asked} of 127.0.0.1 cannot be listened on ({error.strerror})."
            raise Conflict(what, "Choose another with --port, or 0 for a free one.") from None
        return int(listener.getsockname()[1])
