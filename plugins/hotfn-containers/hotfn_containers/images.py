"""Images: looked at, and pulled when they are missing.

`pull = "missing"` (the default) pulls what the engine does not have; "never" says that it is missing; "always" pulls
each time a function is made ready, which is before its first copy and not before each of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from hotfn_core.errors import ConfigError, DriverError, DriverUnavailable

from . import program
from .calls import Calls
from .credentials import Search, search, state_of
from .engine import Image
from .flights import Flights
from .plan import Plan
from .pull import Outcome, Report, download
from .pull_errors import failure, too_late
from .reference import Reference
from .trouble import NoSuchImage

log = logging.getLogger("hotfn")

FRESH = 10.0
"""Seconds that what is known of an image is believed."""

MOST = 256
"""Images that are remembered."""

PULLS = 8
"""Pulls of one driver that are under way at the same time; more wait their turn, and their time runs."""


class Images:
    """What one driver knows of the images of its engine. Cancelling any of its methods leaves the others alone."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._known: dict[str, tuple[float, Image]] = {}
        self._programs: set[tuple[str, ...]] = set()  # those that were seen in their images
        self._pulled: set[str] = set()  # those of pull = "always" that this driver has pulled
        self._looks: Flights[Image] = Flights("it had looked at the image")
        self._pulls: Flights[None] = Flights("the image was pulled")
        self._slots = asyncio.Semaphore(PULLS)
        # Of their own, as a credential helper may take long, and nothing else is to wait for it.
        self._helpers = ThreadPoolExecutor(2, thread_name_prefix=f"hotfn-{calls.engine.name}-logins")

    async def prepare(self, plan: Plan) -> Image:
        """Have the engine get the image of a plan, within its `pull_timeout`, and return it. Raises DriverError.

        A pull that nobody waits for any more is ended.
        """
        if plan.options.pull == "always":
            await self._pull(plan, keep=False)
        return await self._image(plan, keep=False)

    async def ready(self, plan: Plan) -> Image:
        """Return the image of a plan, which the engine has then. Raises DriverError.

        A pull that was begun here goes on when this is cancelled, until it is done or its time is over: the next copy
        finds the image.
        """
        if plan.options.pull == "always" and plan.image not in self._pulled:
            await self._pull(plan, keep=True)
        return await self._image(plan, keep=True)

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

    async def aclose(self) -> None:
        """End all pulls. Who waits for one gets DriverUnavailable. Idempotent."""
        await asyncio.gather(self._looks.aclose(), self._pulls.aclose())
        self._helpers.shutdown(wait=False, cancel_futures=True)

    # ---- looking

    async def _image(self, plan: Plan, *, keep: bool) -> Image:
        known = self._known.get(plan.image)
        if known is None or time.monotonic() - known[0] >= FRESH:
            image = await self._found(plan, keep=keep)
        else:
            image = known[1]
        _check(plan, image)
        return image

    async def _found(self, plan: Plan, *, keep: bool) -> Image:
        _reference(plan)
        try:
            return await self._look(plan.image)
        except NoSuchImage as error:
            if plan.options.pull == "never":
                hint = 'pull or build it, or set driver_options pull = "missing" instead of "never"'
                raise NoSuchImage(f"{error.message}; {hint}", 404) from error
        await self._pull(plan, keep=keep)
        return await self._look(plan.image)

    async def _look(self, name: str) -> Image:
        return await self._looks.join(name, lambda: self._looked(name))

    async def _looked(self, name: str) -> Image:
        image = await self._calls(self._calls.engine.image, name)
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[name] = time.monotonic(), image
        return image

    # ---- pulling

    async def _pull(self, plan: Plan, *, keep: bool) -> None:
        """Pull, or wait for the pull of this image with these logins that is under way, however long that may take."""
        reference = _reference(plan)
        if reference.id:
            raise NoSuchImage(f"{self._calls.engine.name} has no image {plan.image}, and no registry knows an id", 404)
        key = (str(reference), reference.short, await self._calls(state_of, self._calls.engine.login_files()))
        await self._pulls.join(key, lambda: self._pull_once(reference, plan.options.pull_timeout), keep=keep)
        if len(self._pulled) >= MOST:
            self._pulled.clear()
        self._pulled.add(plan.image)
        self.forget(plan.image)  # it may be another one now

    async def _pull_once(self, reference: Reference, limit: float) -> None:
        name, report, began = self._calls.engine.name, Report(), time.monotonic()
        log.info("%s pulls %s", name, reference)
        try:
            async with asyncio.timeout(limit), self._slots:
                logins = await self._logins(reference)
                outcome = await self._download(reference, logins, report)
        except TimeoutError:
            raise too_late(name, reference, limit, report.last) from None
        if outcome.error:
            raise failure(name, reference, outcome.error, outcome.status, logins)
        log.info("%s has pulled %s in %.1f s", name, reference, time.monotonic() - began)

    async def _logins(self, reference: Reference) -> Search:
        files = self._calls.engine.login_files()
        return await asyncio.get_running_loop().run_in_executor(self._helpers, search, files, reference)

    async def _download(self, reference: Reference, logins: Search, report: Report) -> Outcome:
        engine = self._calls.engine
        try:
            return await download(engine.endpoint, engine.pull_request(reference, logins.login), report)
        except DriverUnavailable as error:
            raise await self._calls(engine.lost, error) from error


def check_image(name: str) -> None:
    """Raises ConfigError for what cannot be the name of an image."""
    try:
        Reference.parse(name)
    except ValueError as error:
        raise ConfigError(f"image {error}", field="image") from error


def _reference(plan: Plan) -> Reference:
    try:
        return Reference.parse(plan.image)
    except ValueError as error:
        raise DriverError(f"image {error}", status=400) from error


def _check(plan: Plan, image: Image) -> None:
    if image.volumes and not plan.options.volumes:
        raise DriverError(
            f"the image {plan.image} declares volumes ({', '.join(image.volumes)}), which copies could fill "
            f"without a limit; build it without VOLUME, or set driver_options volumes = true",
            status=400,
        )
