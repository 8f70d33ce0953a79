from __future__ import annotations

from .setup import Engine


def test_answers(engine: Engine) -> None:
    assert engine.cli("run", "--rm", "-i", engine.image_echo, stdin=b"hello") == "hello"


def test_private(private_engine: Engine) -> None:
    assert private_engine.cli("run", "--rm", "-i", private_engine.image_echo, stdin=b"hello") == "hello"
