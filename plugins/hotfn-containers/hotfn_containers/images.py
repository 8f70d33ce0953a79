"""Images: looked at, and pulled when they are missing."""

from __future__ import annotations

import time

from hotfn_core.errors import DriverError

from . import program
from .calls import Calls
from .engine import Image
from .plan import Plan

FRESH = 10.0
"""Seconds that what is known of an image is believed."""

MOST = 256
"""Images that are remembered."""


class Images:
    """What one driver knows of the images of its engine."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._known: dict[str, tuple[float, Image]] = {}
        self._programs: set[tuple[str, ...]] = set()  # those that were seen in their images

    async def ready(self, plan: Plan) -> Image:
        """Return the image of a plan, which the engine has then. Raises DriverError."""
        now = time.monotonic()
        known = self._known.get(plan.image)
        if known is not None and now - known[0] < FRESH:
            return known[1]
        image = await self._calls(self._calls.engine.image, plan.image)
        self._check(plan, image)
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[plan.image] = now, image
        return image

    def forget(self, name: str) -> None:
        """The engine says that it does not have the image any more."""
        self._known.pop(name, None)

    async def check_program(self, plan: Plan, image: Image, container: str) -> None:
        """See once that the program is in the image, in a container that was made of it. Raises DriverError."""
        key = (image.id, program.argv(plan, image)[0], plan.options.cwd, plan.env.get("PATH", ""))
        if key in self._programs:
            return
        mode, path = None, ""
        for path in program.places(plan, image):
            mode = await self._calls(self._calls.engine.mode, container, path)
            if mode is not None:
                break
        if error := program.fault(plan, image, path, mode):
            raise error
        if len(self._programs) >= MOST:
            self._programs.clear()
        self._programs.add(key)

    def _check(self, plan: Plan, image: Image) -> None:
        if image.volumes and not plan.options.volumes:
            raise DriverError(
                f"the image {plan.image} declares volumes ({', '.join(image.volumes)}), which copies could fill "
                f"without a limit; build it without VOLUME, or set driver_options volumes = true",
                status=400,
            )
