"""Properties are checked however slow the machine is: a busy processor is no failure."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("coalition", deadline=None)
settings.load_profile("coalition")
