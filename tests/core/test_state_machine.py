"""The rules hold in every history: see `rules_machine` for the world and `rules_model` for what is checked."""

from __future__ import annotations

from hypothesis import settings

from .rules_machine import FrostMachine, RulesMachine

TestRules = RulesMachine.TestCase
TestRules.settings = settings(stateful_step_count=60)

TestFrost = FrostMachine.TestCase
TestFrost.settings = settings(stateful_step_count=60)
