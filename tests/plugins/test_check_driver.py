"""The kit finds what is wrong with a driver: bugs are planted in a good one, and each is found by the check for it."""

from __future__ import annotations

import asyncio
import shlex
import sys

import pytest

from hotfn_core.registry import Registry
from hotfn_core.testing.check_driver import CHECKS, ConformanceError, Guest, check_driver, run_checks, table
from hotfn_core.testing.check_driver.__main__ import main
from hotfn_local.driver import LocalDriver

from .driver_bugs import BUGS, CodeLost, Planted, Wrapped


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    check, driver = BUGS[bug]
    with pytest.raises(ConformanceError) as failure:
        check_driver(driver, only=[check], patience=2)
    (outcome,) = failure.value.outcomes
    assert (outcome.name, outcome.status) == (check, "FAILED")
    assert outcome.detail in str(failure.value)


def test_the_same_driver_without_a_bug_passes() -> None:
    checks = sorted({check for check, _ in BUGS.values()})
    assert all(outcome.status == "passed" for outcome in check_driver(Planted, only=checks, patience=10))


def test_what_the_contract_leaves_open_is_not_a_failure() -> None:
    class Mild(Wrapped):
        async def freeze(self) -> None:
            raise NotImplementedError

    class Warm(Planted):
        freezes = False
        wrapped = Mild

    for check in ("freezing", "stop_frozen", "stop_frozen_at_once", "stop_while_freezing"):
        (outcome,) = check_driver(Warm, only=[check])
        assert outcome.status == "not supported"
        assert outcome.detail == "this driver cannot freeze"


def test_the_table_names_checks_and_what_they_mean() -> None:
    heard: list[str] = []

    async def main() -> None:
        outcomes = await run_checks(LocalDriver, only=["ids"], tell=lambda outcome: heard.append(outcome.name))
        assert "Every container is a Container with an id of its own." in table(outcomes)

    asyncio.run(main())
    assert heard == ["ids"]


def test_an_unknown_check_is_refused() -> None:
    with pytest.raises(ValueError, match='did you mean "stop_kills"'):
        check_driver(LocalDriver, only=["stop_kill"])


def test_every_check_says_in_a_sentence_what_it_checks() -> None:
    for name, function in CHECKS.items():
        sentence = (function.__doc__ or "").splitlines()[0]
        assert sentence.endswith("."), name


@pytest.mark.parametrize(("driver", "code"), [("local", 0), ("broken", 1)])
def test_the_command_line(
    driver: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"local": LocalDriver, "broken": type("Broken", (Planted,), {"between": CodeLost})}
    monkeypatch.setattr(Registry, "driver", lambda self, name: made[name]())
    command = shlex.join(Guest.command)
    monkeypatch.setattr(sys, "argv", ["check_driver", driver, "exit_codes", "--command", command, "--patience", "5"])
    assert main() == code
    said = capsys.readouterr().out.splitlines()
    assert said[0].split()[:2] == ["exit_codes", "FAILED" if code else "passed"]
    assert said[-1] == f"1 checks, {code} failed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["locla"], 'did you mean "local"?'), (["local", "stop_kill"], 'did you mean "stop_kills"?')],
    ids=["driver", "check"],
)
def test_the_command_refuses_unknown_names_before_anything_runs(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["check_driver", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    output = capsys.readouterr()
    assert said in output.err
    assert not output.out
