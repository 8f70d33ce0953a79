"""What holds for every test: how hard hypothesis tries."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

# A machine that is shared pauses a test at any moment, so no deadline is measured on an example: a test that hangs is
# ended by pytest's own timeout. Each failure prints the blob that replays it.
settings.register_profile("dev", deadline=None, max_examples=50, print_blob=True)
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=200,
    print_blob=True,
    phases=set(Phase) - {Phase.explain},  # it traces every line, which a long history does not finish
)
settings.register_profile(
    "slow",
    deadline=None,
    max_examples=5_000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],  # it is meant to be
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
