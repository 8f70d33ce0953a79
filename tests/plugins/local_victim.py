"""A program that uses the driver `local` until it is killed.

`local_victim.py KIND LOOP [SEED [zygote]]`, the token on stdin.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from hotfn_core.testing.check_driver import Copy, Guest, Kit
from hotfn_local.driver import LocalDriver

STUBBORN = {"term": "ignore", "eof": "ignore"}


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def spawning(kit: Kit, **how: Any) -> dict[str, Any]:
    return STUBBORN | {"spawn": {"count": 2, "token": kit.token, **how}}


async def told(kit: Kit, script: dict[str, Any]) -> None:
    """Launch one copy and say which processes it is."""
    copy = await kit.launch()
    report = await copy.report(script)
    say("launched")
    say(" ".join(map(str, [report["pid"], *report["spawned"]])))


async def stubborn(kit: Kit) -> None:
    await told(kit, STUBBORN)


async def spawning_(kit: Kit) -> None:
    await told(kit, spawning(kit))


async def escaping(kit: Kit) -> None:
    await told(kit, spawning(kit, setsid=True, quiet=True))


async def wiping(kit: Kit) -> None:
    command = ("/usr/bin/env", "-i", "FN_FORMAT=json", *kit.guest.command)
    copy = await kit.launch(command=command)
    report = await copy.report(STUBBORN | {"spawn": {"token": kit.token}})
    say("launched")
    say(" ".join(map(str, [report["pid"], *report["spawned"]])))


async def forking(kit: Kit) -> None:
    await kit.ready(STUBBORN)
    fork = os.fork()
    if not fork:
        time.sleep(100)  # noqa: ASYNC251 - it has no use for the loop
        os._exit(0)
    say("launched")
    say(fork)


async def careless(kit: Kit) -> None:
    await kit.ready(spawning(kit, setsid=True, quiet=True))
    say("launched")
    sys.stdout.flush()
    os._exit(0)


async def busy(kit: Kit) -> None:
    """Launch and stop copies of all kinds, as fast as it goes."""
    dice = random.Random(sys.argv[3])
    while True:
        kinds = [{}, STUBBORN, spawning(kit), spawning(kit, setsid=True), spawning(kit, setsid=True, quiet=True)]
        copies = [await kit.launch(dice.choice(kinds)) for _ in range(dice.randint(1, 3))]
        say("launched")
        await asyncio.sleep(dice.uniform(0, 0.1))
        await asyncio.gather(*(some_end(copy, dice) for copy in copies))


async def some_end(copy: Copy, dice: random.Random) -> None:
    if dice.random() < 0.5:
        await copy.container.stop(dice.choice((0, 0.01, 0.05)))


KINDS: dict[str, Callable[[Kit], Awaitable[None]]] = {
    "stubborn": stubborn,
    "spawning": spawning_,
    "escaping": escaping,
    "wiping": wiping,
    "forking": forking,
    "careless": careless,
    "busy": busy,
}


async def main() -> None:
    driver = LocalDriver()
    await driver.open()
    kit = Kit(driver, Guest(options={"zygote": True} if "zygote" in sys.argv[4:] else {}), 10)
    kit.token = sys.stdin.readline().strip()
    await KINDS[sys.argv[1]](kit)
    await asyncio.sleep(1000)


def run() -> None:
    if sys.argv[2] == "uvloop":
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())


if __name__ == "__main__":
    run()
