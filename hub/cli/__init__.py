"""The `coalition-hub` command."""

from hub.cli.commands import app as app
from hub.cli.commands import main as main
