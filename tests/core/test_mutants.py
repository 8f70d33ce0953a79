"""The machine of `rules_machine` finds bugs: each of these is planted in the rules, and each is found.

A mutant is the real source with a text replaced. A text that is no longer there, or there twice, fails the test: then
the rules have changed, and the bug has to be planted anew.
"""

from __future__ import annotations

import sys
import types
from importlib import import_module
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from hotfn_core.state import SupervisorState

from .rules_machine import FrostMachine, RulesMachine

MODULES = (
    "deadlines",
    "records",
    "ledger",
    "resting",
    "lining",
    "launching",
    "state",
)  # in the order in which they import one another
SEARCH = settings(
    max_examples=400,
    stateful_step_count=60,
    derandomize=True,  # the same histories every time: a mutant is found always or never
    database=None,
    deadline=None,
    phases=[Phase.generate],  # that it is found is all we ask, not the shortest history
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
# Which histories those are depends on the numbers in all modules that are loaded, and so on which tests run beside
# these. The first find ends the search, so patience costs nothing but with a bug that is rare.
PATIENT = settings(SEARCH, max_examples=10_000)


class Mutant(NamedTuple):
    """What is wrong with it, the module it is planted in, the text that stood there, and what stands there now."""

    bug: str
    module: str
    right: str
    wrong: str


_START = "        self._deadlines.set(copy, now + self.spec.start_timeout)\n"
_FORGET = "        self._deadlines.forget(self._linger)"
_SATURATED = 'self._fail(now, waiter, "saturated", RETRY_SATURATED)'
_KEEP = "(self._leave(copy), self._rest(now, copy))"
_LOST = "self._lost_in_frost(now, copy, reason)"
_GONE = "self._gone(now, copy)\n        return "
_ABORT = 'self._fail(now, copy.call, "aborted")'
MUTANTS = [
    Mutant("settle forgotten on exit", "state", _GONE + "self._settle(now)", _GONE + "self._actions"),
    Mutant("stopping copies not in the cap", "launching", "NEVER and len(self._copies) <", "NEVER and self.useful <"),
    Mutant("starters ignored", "launching", "if len(self._waiting) > self.starting:", "if self._waiting:"),
    Mutant("the copy idle longest is taken", "state", "self._idle.pop()", "self._idle.pop(0)"),
    Mutant("the newest call first", "ledger", "next(iter(self._waiting", "next(reversed(self._waiting"),
    Mutant("room for one call less", "state", "> self.spec.max_queue", ">= self.spec.max_queue"),
    Mutant("room for one call more", "state", "- self.starting > self", "- self.starting - 1 > self"),
    Mutant("a saturated call keeps its place", "state", _SATURATED, 'actions.append(Fail(call.id, "saturated", 1.0))'),
    Mutant("queue_timeout left in the past", "state", "_queue_due() <= now:", "_queue_due() < now:"),
    Mutant("told to stop only twice", "ledger", "self._deadlines.set(copy, now + copy.retry)\n", "pass\n"),
    Mutant("idle_timeout not armed again", "ledger", "due = copy.idle_until if", "due = NEVER if"),
    Mutant("start_timeout never armed", "ledger", _START + "        self._deadlines.forget(self._linger)", _FORGET),
    Mutant("start_timeout runs in the line", "ledger", "self._deadlines.set(copy, NEVER)", "pass"),
    Mutant(
        "start_timeout forgotten after the line", "ledger", "copy.launched = now\n" + _START, "copy.launched = now\n"
    ),
    Mutant("the line is charged to the start", "ledger", "copy.launched = now\n", "pass\n"),
    Mutant("nothing leaves the line", "state", "self._withdraw(now)", "pass"),
    Mutant("all leave the line", "lining", "self.starting <= len(self._waiting) or", ""),
    Mutant("min_instances leave the line", "lining", "or self.useful <= self._wanted()", ""),
    Mutant(
        "started in a back-off",
        "launching",
        "_give_up(now, copy)\n        self._clear_line(now)",
        "_give_up(now, copy)",
    ),
    Mutant("in line for ever in the count", "ledger", "if copy.lined:\n", "if False:\n"),
    Mutant("rings at a time that has moved", "deadlines", "elif thing.due == when:", "elif thing.due < NEVER:"),
    Mutant("kept after a timeout", "state", 'self._stop(now, copy, "timeout")', _KEEP),
    Mutant("kept after a cancelled call", "state", 'self._stop(now, waiter.copy, "cancelled")', "pass"),
    Mutant("a cancelled call stays in the queue", "state", "self._end_call(waiter)", "self._calls.pop(waiter.id)"),
    Mutant("the call of a dead copy is forgotten", "state", 'self._fail(now, call, "instance_exited")', "pass"),
    Mutant(
        "the start is charged to the call",
        "ledger",
        "expires = now + self.spec.t",
        "expires = waiter.arrived + self.spec.t",
    ),
    Mutant("a running call outlives its deadline", "ledger", "expires = waiter.deadline", "pass"),
    Mutant("back-off not reset by success", "state", "self._failures = 0\n", "pass\n"),
    Mutant("a good start leaves the back-off", "state", "self._deadlines.forget(self._backoff)", "pass"),
    Mutant("launches during the back-off", "launching", "self._backoff.due == self._pace", "self._pace"),
    Mutant("a crash loop is not paced", "launching", "self._backoff.due == self._pace.due", "self._backoff.due"),
    Mutant("paced too soon", "launching", "if self.crashes >= CRASHES_FREE", "if self.crashes >= CRASHES_FREE - 1"),
    Mutant("crashes side by side add up", "launching", "and copy.launched >= self._crashed_at", ""),
    Mutant("a bad reply is no crash", "state", 'how == "broke":', "False:"),
    Mutant("a refused call proves a copy", "state", 'if how == "answered":', 'if how != "broke":'),
    Mutant("an exit is no crash", "state", "self._crashed(now, copy)\n            self._fail", "self._fail"),
    Mutant("paced after an answer", "launching", "self._deadlines.forget(self._pace)", "pass"),
    Mutant(
        "crashes before an answer count", "launching", "self.crashes = 0\n        self._deadlines", "self._deadlines"
    ),
    Mutant("a copy that had answered crashes the function", "launching", "and not copy.proven", ""),
    Mutant("a cold function that says no is paced", "launching", "if self.hot and not copy", "if not copy"),
    Mutant("not settled behind a refusal", "state", "actions += self._settle(now)", "actions += self._actions"),
    Mutant("starts that fail side by side add up", "launching", "if not self._backing_off(now):  #", "if True:  #"),
    Mutant("fails a call that others can serve", "launching", "if not self.useful:\n", "if True:\n"),
    Mutant("a replaced copy is not stopped", "resting", 'self._stop(now, old, "recycled")', "pass"),
    Mutant("one call more than max_calls", "ledger", "copy.calls == self.spec.max", "copy.calls - 1 == self.spec.max"),
    Mutant("a cold copy is used again", "ledger", "copy.last = not self.hot or", "copy.last ="),
    Mutant("max_age forgotten", "state", "copy.expires_at = now + self.spec.max_age", "pass"),
    Mutant("min_instances not kept", "resting", "surplus = self.useful - copy.aged > self._wanted()", "surplus = True"),
    Mutant("min_instances not launched", "launching", "and self.useful < wanted:", "and False:"),
    Mutant("drain keeps an idle copy", "state", "in [*self._idle,", "in [*self._idle[1:],"),
    Mutant("drain keeps starters for nobody", "state", "if self.starting > len(self._waiting):", "if False:"),
    Mutant("the drain limit spares calls", "state", _ABORT, "continue"),
    Mutant("dropped though a call has come", "state", "if self._linger.due != NEVER:", "if False:"),
    Mutant("never dropped", "state", "self._deadlines.set(self._linger, now + LINGER)", "pass"),
]
IN_THE_FROST = [
    Mutant("a frozen copy passes for idle", "ledger", "self._frozen.append(copy)", "self._idle.append(copy)"),
    Mutant("frozen too early", "resting", "if now >= copy.freeze_at:", "if self._freezes:"),
    Mutant("never frozen", "resting", "self._freeze(copy)", "copy.freeze_at = NEVER"),
    Mutant("never thawed", "state", "self._thaw_for_calls(now)\n", "pass\n"),
    Mutant("thawed for a call that is covered", "state", "len(self._waiting) > self.thawing", "self._waiting"),
    Mutant("a slow start keeps a call from a thaw", "state", "> self.thawing", "> self.starting"),
    Mutant(
        "the copy frozen longest is thawed",
        "state",
        "self._thaw(now, self._frozen[-1])",
        "self._thaw(now, self._frozen[0])",
    ),
    Mutant(
        "a thaw without end", "ledger", "self._deadlines.set(copy, now + THAW_LIMIT)", "self._deadlines.forget(copy)"
    ),
    Mutant("kept after a failed freeze", "state", _LOST, "self._rest_again(now, copy)"),
    Mutant("a failed thaw is a failed start", "state", _LOST, f"({_LOST}, self._launch_went_wrong(now, copy))"),
    Mutant("grace for what does not thaw", "resting", '0.0 if copy.phase == "thawing" else None', "None"),
    Mutant("frozen again at once after a failure", "resting", "self._freeze_from = now + FREEZE_PAUSE", "pass"),
    Mutant("an exit in the thaw fails the call", "state", 'and phase != "thawing":', "and True:"),
    Mutant("idle_timeout anew by a thaw", "state", "self._rest_again(now, copy)", _KEEP),
    Mutant("idle_timeout forgotten in the frost", "resting", "times = (copy.idle_until,", "times = ("),
    Mutant(
        "max_age forgotten in the frost", "ledger", "copy.freeze_at = NEVER", "copy.freeze_at = copy.expires_at = NEVER"
    ),
    Mutant("frozen once only", "ledger", "copy.expires_at, self._freeze_later(now, copy))", "copy.expires_at)"),
    Mutant(
        "min_instances without the frozen",
        "ledger",
        "len(self._idle) + len(self._frozen) + self.b",
        "len(self._idle) + self.b",
    ),
    Mutant("drain keeps a frozen copy", "state", ", *self._frozen]:", "]:"),
    Mutant("thawing for ever in the count", "ledger", 'self.thawing -= copy.phase == "thawing"', "pass"),
]


def plant(mutant: Mutant, source: str) -> str:
    count = source.count(mutant.right)
    assert count == 1, f"{mutant.bug}: {mutant.right!r} is in {mutant.module}.py {count} times"
    return source.replace(mutant.right, mutant.wrong)


def load(mutant: Mutant | None) -> type[SupervisorState]:
    """Run the modules of the rules anew, one of them changed, and return their SupervisorState."""
    fresh: dict[str, types.ModuleType] = {}
    with mock.patch.dict(sys.modules):
        for name in MODULES:
            real = import_module(f"hotfn_core.{name}")
            source = Path(str(real.__file__)).read_text()
            if mutant is not None and mutant.module == name:
                source = plant(mutant, source)
            fresh[name] = types.ModuleType(real.__name__)
            fresh[name].__package__ = "hotfn_core"
            sys.modules[real.__name__] = fresh[name]
            code = compile(source, f"<{name}.py with {mutant and mutant.bug!r}>", "exec")
            exec(code, fresh[name].__dict__)  # noqa: S102 - our own source, and nothing else makes a mutant
    rules: type[SupervisorState] = fresh["state"].SupervisorState
    return rules


def search(rules: type[SupervisorState], how: settings = SEARCH, world: type[RulesMachine] = RulesMachine) -> None:
    machine = type("Mutated", (world,), {"make": rules})
    run_state_machine_as_test(machine, settings=how)


@pytest.mark.timeout(600)  # how long a rare one takes to be found depends on the histories
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.bug)
def test_a_planted_bug_is_found(mutant: Mutant) -> None:
    rules = load(mutant)
    with pytest.raises(AssertionError):
        search(rules, PATIENT)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", IN_THE_FROST, ids=lambda mutant: mutant.bug)
def test_a_bug_planted_in_the_frost_is_found(mutant: Mutant) -> None:
    rules = load(mutant)
    with pytest.raises(AssertionError):
        search(rules, PATIENT, FrostMachine)


@pytest.mark.parametrize("world", [RulesMachine, FrostMachine])
def test_the_rules_themselves_pass_the_same_search(world: type[RulesMachine]) -> None:
    """Otherwise the above would say nothing."""
    search(load(None), world=world)


def test_a_text_that_is_gone_is_noticed() -> None:
    gone = Mutant("nothing", "state", "no such text", "")
    with pytest.raises(AssertionError, match="0 times"):
        load(gone)
