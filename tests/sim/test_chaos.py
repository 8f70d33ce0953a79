"""Whatever goes wrong, and whenever: every call ends once, in time, with its own answer, and nothing is left behind."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from collections import Counter

import pytest

from hotfn_core import InstanceExited
from hotfn_core.instance import Instance
from hotfn_core.testing import simulate

from .chaos import CALLS, PHASES, Chaos, run_chaos
from .weather import Story

CHUNKS = 20  # of the default run; each is a test of its own, so that they can run side by side
CI_CALLS = 100_000
SLOW_CALLS = 1_000_000
ONE_SEED = os.environ.get("HOTFN_SEED")  # asks for this one story instead of the hundred thousand calls
STORIES = CI_CALLS // CALLS // CHUNKS
SEEDS = [range(first, first + STORIES) for first in range(0, CHUNKS * STORIES, STORIES)]
if ONE_SEED is not None:
    SEEDS = [range(int(ONE_SEED), int(ONE_SEED) + 1)]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The faults are meant to be there: a log line for each of them would help nobody."""
    monkeypatch.setattr(logging.getLogger("hotfn"), "disabled", True)


def run_many(seeds: range) -> Counter[str]:
    total: Counter[str] = Counter()
    begun = time.perf_counter()
    for seed in seeds:
        total += run_chaos(seed).ended
    rate = sum(total.values()) / (time.perf_counter() - begun)
    print(f"{sum(total.values())} simulated calls, {rate:.0f} a second: {dict(total)}")
    return total


@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_a_hundred_thousand_calls_in_foul_weather(seeds: range) -> None:
    total = run_many(seeds)
    assert sum(total.values()) == CALLS * len(seeds)
    if len(seeds) == 1:
        return
    # the weather was foul, and yet not so foul that nothing went well
    assert {"ok", "calm ok", "saturated", "queue_timeout", "call_timeout", "launch_failed"} <= set(total)
    assert {"instance_exited", "bad_reply", "gave up", "invalid_call", "too_large", "shutting_down"} <= set(total)
    assert total["ok"] > CI_CALLS // CHUNKS // 10


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(100))
def test_a_million_calls_in_foul_weather(chunk: int) -> None:
    stories = SLOW_CALLS // CALLS // 100
    first = CI_CALLS // CALLS + chunk * stories  # other seeds than those of the default run
    assert sum(run_many(range(first, first + stories)).values()) == SLOW_CALLS // 100


def test_copies_go_through_their_phases_in_order() -> None:
    for seed in range(20):
        chaos = Chaos(seed)
        _, phases = simulate_again(chaos).log[-1]
        assert isinstance(phases, list)
        assert phases
        for instance, states in phases:
            assert re.fullmatch(PHASES, " ".join(states)), (seed, instance, states)


def simulate_again(chaos: Chaos) -> Story:
    return simulate(chaos.run, 1)


class TestOneSeedIsOneStory:
    def test_the_same_seed_tells_the_same_story_and_another_seed_another(self) -> None:
        first, again, other = run_chaos(7), run_chaos(7), run_chaos(8)
        assert len(first.log) > 500
        assert first.log == again.log
        assert first.digest != other.digest

    def test_also_in_another_process_with_other_hashes(self) -> None:
        code = "import logging; logging.disable(); from tests.sim.chaos import run_chaos; print(run_chaos(7).digest)"
        digests = set()
        for hashes in ("1", "2"):
            env = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": os.pathsep.join(sys.path)}
            done = subprocess.run(
                [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60
            )
            digests.add(done.stdout.strip())
        assert digests == {run_chaos(7).digest}

    def test_a_planted_bug_is_found_and_its_seed_shows_it_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The oldest bug of all: a copy whose reply was bad is kept, and gives the rest of it to the next caller."""

        def keep(self: Instance, error: Exception, idle: str = "") -> None:
            call = self.call
            self.end_call()
            if call is not None:
                self._owner.call_broke(self, call.id, InstanceExited("kept"), None)  # type: ignore[arg-type]

        monkeypatch.setattr(Instance, "_broken", keep)
        seed, first = first_failure()
        assert any(f"HOTFN_SEED={seed} " in note for note in first.__notes__)
        again = failure(seed)
        assert (type(again), str(again), again.__notes__) == (type(first), str(first), first.__notes__)
        monkeypatch.undo()
        run_chaos(seed)  # it is the bug, not the seed


def first_failure() -> tuple[int, BaseException]:
    for seed in range(50):
        try:
            run_chaos(seed)
        except BaseException as error:  # whatever the planted bug leads to
            return seed, error
    pytest.fail("the planted bug was not found")


def failure(seed: int) -> BaseException:
    with pytest.raises(BaseException) as caught:
        run_chaos(seed)
    return caught.value
