"""The Flower app of a campaign's runs. A run needs one; here it is a name and nothing else.

Both ends run what their owners installed: the hub `hub.rounds.serverapp`, a member `contributors.site.clientapp`, each as
the external task process of Flower's `--isolation process`. So a hub has no way to send code to a site: what arrives in
this bundle is never unpacked there.
"""

from __future__ import annotations

from functools import cache

_PYPROJECT = b"""\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "coalition"
version = "1.0.0"
description = "Federated rounds. Holds no code: both ends run what their owners installed."
license = "Apache-2.0"

[tool.flwr.app]
publisher = "coalition"

[tool.flwr.app.components]
serverapp = "hub.rounds.serverapp:main"
clientapp = "contributors.site.clientapp:main"

[tool.flwr.app.config]
"""


@cache
def build() -> bytes:
    """The bundle that every run is started with; always the same bytes for one version of Flower."""
    from flwr.cli.build import build_fab_from_files

    fab, _ = build_fab_from_files({"pyproject.toml": _PYPROJECT})
    return bytes(fab)
