"""Podman, through the API client of the package `podman`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

import podman.errors
import requests.exceptions
from podman.api import APIClient

from hotfn_core.errors import DriverUnavailable

from .credentials import Login, containers_files
from .engine import REQUEST_SECONDS, About, Engine, Found, Image, State, mode_of
from .listener import command_of, hard_limit
from .oom import oom_killed, verdict
from .plan import MB, Plan
from .pull import PullRequest
from .reference import Reference
from .transport import UnixAdapter
from .trouble import NameTaken, NoSuchContainer, NoSuchImage, Refused, explain

OLDEST = 4
"""The major version of podman from which on the API is as it is used here."""

CONTROLLERS = {"memory": "memory", "swap": "memory", "cpus": "cpu", "pids": "pids"}
"""What the kernel enforces each limit with."""

GROUPS = ("/libpod_parent/libpod-{}", "/machine.slice/libpod-{}.scope")
"""The control groups that podman makes for a container, by itself or with systemd."""

USUAL_PROCESSES = 32_768
"""What a podman service has, unless somebody has set another limit for it."""

CPU_PERIOD = 100_000  # microseconds, the kernel's own default

NO_LIMIT = -1


class PodmanEngine(Engine):
    """A podman service."""

    name: ClassVar[str] = "podman"
    _processes: Mapping[str, int] = MappingProxyType({})

    def _make_client(self) -> Any:
        client = APIClient(base_url=self.endpoint.url, version=self.about.api or "4.0.0", timeout=REQUEST_SECONDS)
        client.trust_env = False  # a proxy is for images, not for the engine
        if self.endpoint.unix:
            client.mount("http://", UnixAdapter(self.endpoint.unix))
        return client

    def _connect(self) -> About:
        self._processes = may_give(self.endpoint.probe())
        version = str(self._call("get", "/version").get("Version") or "?")
        self.client.timeout = REQUEST_SECONDS
        major = version.partition(".")[0]
        if not major.isdecimal() or int(major) < OLDEST:
            raise DriverUnavailable(
                f"podman at {self.endpoint.url} is version {version}: hotfn needs {OLDEST}.0 or newer"
            )
        facts = self._call("get", "/info")
        cpus = int((facts.get("host") or {}).get("cpus") or 0)
        return About(version, "4.0.0", tuple(detail(facts)), cpus=cpus, lacks=lacks(facts))

    def image(self, name: str) -> Image:
        try:
            facts = self._call("get", f"/images/{quote(name, safe='')}/json")
        except Refused as error:
            if error.answer == 404:
                raise NoSuchImage(f"podman has no image {name}: {error.message}", 404) from error
            raise
        return Image.of(facts)

    def login_files(self) -> list[Path]:
        return containers_files()

    def pull_request(self, reference: Reference, login: Login | None) -> PullRequest:
        # A name without a registry stays as it is: podman looks it up in registries.conf, and takes its own logins.
        target = f"/v{self.about.api}/libpod/images/pull?{urlencode({'reference': reference.written})}"
        header = "" if login is None or reference.short else login.for_podman()
        return PullRequest(target, {"X-Registry-Auth": header} if header else {})

    def create(self, plan: Plan, name: str, labels: Mapping[str, str]) -> str:
        spec = specification(plan, self._processes) | {"name": name, "labels": dict(labels)}
        try:
            made = self._call("post", "/containers/create", data=json.dumps(spec))
        except Refused as error:
            if "is already in use" in error.message:
                raise NameTaken(error.message, 409) from error
            if "image" in error.message and ("not known" in error.message or "no such image" in error.message.lower()):
                raise NoSuchImage(error.message, 404) from error
            raise
        return str(made["Id"])

    def init(self, container: str) -> None:
        self._on(container, "post", "/init")

    def start(self, container: str) -> None:
        self._on(container, "post", "/start")

    def kill(self, container: str, signal: str) -> None:
        try:
            self._on(container, "post", "/kill", params={"signal": signal})
        except Refused as error:
            if error.answer != 409 and "improper" not in error.message and "not running" not in error.message:
                raise

    def pause(self, container: str) -> None:
        self._on(container, "post", "/pause")

    def unpause(self, container: str) -> None:
        self._on(container, "post", "/unpause")

    def state(self, container: str) -> State:
        groups = [group.format(container) for group in GROUPS]
        before = oom_killed(groups)  # the group may be gone by the time that podman has answered
        state = self._on(container, "get", "/json")["State"]
        return State(
            running=state["Status"] not in ("exited", "stopped", "removing", "dead"),
            code=state.get("ExitCode"),
            oom=verdict(state.get("OOMKilled"), before, oom_killed(filter(None, (state.get("CgroupPath"), *groups)))),
            error=state.get("Error") or "",
        )

    def remove(self, container: str) -> None:
        try:
            self._on(container, "delete", "", params={"force": "true", "v": "true", "volumes": "true", "timeout": "0"})
        except NoSuchContainer:
            return

    def mode(self, container: str, path: str) -> int | None:
        with self._told():
            answer = self.client.head(f"/containers/{container}/archive", params={"path": path})
        return mode_of("podman", answer.status_code, answer.headers)

    def labelled(self, label: str) -> list[Found]:
        filters = json.dumps({"label": [label]})
        found = self._call("get", "/containers/json", params={"all": "true", "filters": filters})
        return [Found(one["Id"], (one.get("Names") or [""])[0], one.get("Labels") or {}) for one in found or ()]

    def lifeline_request(self) -> bytes:
        # It is not whole, so nothing comes back. Events would be followed in a log that every container writes to.
        return b"HEAD /_ping HTTP/1.1\r\nHost: localhost\r\n"

    def attach_target(self, container: str) -> str:
        # An empty detachKeys: by default podman hangs up on the bytes 0x10 0x11, which may be part of any body.
        query = "stream=1&stdin=1&stdout=1&stderr=1&detachKeys="
        return f"/v{self.about.api}/libpod/containers/{quote(container)}/attach?{query}"

    def _on(self, container: str, method: str, path: str, **arguments: Any) -> Any:
        """Ask for something of one container. Raises NoSuchContainer."""
        try:
            return self._call(method, f"/containers/{quote(container)}{path}", **arguments)
        except Refused as error:
            if (
                type(error) is Refused and "no such container" in error.message.lower()
            ):  # 404, or 500 when it goes just now
                raise NoSuchContainer(error.message, 404) from error
            raise

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        with self._told():
            answer = getattr(self.client, method)(path, **arguments)
            if answer.status_code >= 400:
                raise _refusal(answer)
            return answer.json() if answer.content else None

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Translate what the package raises."""
        try:
            yield
        except podman.errors.APIError as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status is None:
                raise self.lost(error) from error
            raise Refused(f"podman: {explain('podman', str(error))}", status) from error
        except (podman.errors.PodmanError, requests.exceptions.RequestException, OSError) as error:
            raise self.lost(error) from error


def _refusal(answer: Any) -> Refused:
    try:
        text = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        text = answer.text[:500] or f"HTTP status {answer.status_code}"
    return Refused(f"podman: {explain('podman', text)}", answer.status_code)


def detail(facts: Mapping[str, Any]) -> Iterator[str]:
    """Say in words what of podman's machine matters."""
    host = facts.get("host") or {}
    yield f"cgroup {host.get('cgroupVersion', '')}"
    yield str((host.get("ociRuntime") or {}).get("name", ""))
    security = host.get("security") or {}
    if not security.get("seccompEnabled", True):
        yield "no seccomp filter"
    if security.get("rootless"):
        yield "rootless"


def lacks(facts: Mapping[str, Any]) -> frozenset[str]:
    """Say which limits podman takes and does not hold anybody to: those that its user was not given."""
    host = facts.get("host") or {}
    if host.get("cgroupVersion") == "v2":
        given = host.get("cgroupControllers") or ()
        return frozenset(limit for limit, one in CONTROLLERS.items() if one not in given)
    return frozenset(CONTROLLERS) if (host.get("security") or {}).get("rootless") else frozenset()


def specification(plan: Plan, processes: Mapping[str, int]) -> dict[str, Any]:
    """Return a plan as what podman calls a SpecGenerator. `processes` is the service's own limit of them."""
    options = plan.options
    spec: dict[str, Any] = {
        "image": plan.image,
        "env": dict(plan.env),
        "user": options.user,
        **{name: {"nsmode": "private"} for name in ("pidns", "ipcns", "utsns")},  # whatever containers.conf says
        "stdin": True,
        "terminal": False,
        "read_only_filesystem": options.read_only,
        "cap_drop": ["ALL"],
        "cap_add": [f"CAP_{one}" for one in options.capabilities],
        "no_new_privileges": not options.new_privileges,
        "init": options.init,
        "log_configuration": {"driver": "none"},  # the streams are ours; a log would grow without a bound
        "r_limits": [_rlimit(name, value) for name, value in {**processes, **plan.ulimits()}.items()],
        "mounts": _mounts(plan),
        "resource_limits": _resources(plan),
        "healthconfig": {"Test": ["NONE"]},
        "sdnotifyMode": "ignore",
    }
    if plan.command:
        spec["command"] = list(plan.command)
    if options.entrypoint is not None:
        spec["entrypoint"] = list(options.entrypoint)
    if options.cwd:
        spec["work_dir"] = options.cwd
    return spec | _network(plan.network)


def may_give(pid: int | None) -> dict[str, int]:
    """Return the limit of processes to ask of a service, {} where podman may choose. `pid` listens for it.

    podman chooses more than it is given itself, which is refused where it may not raise limits. It counts a user's
    processes in all containers: `max_processes` is what bites.
    """
    if command_of(pid) != "podman":  # systemd, whose limits are others, or out of sight
        return {"nproc": USUAL_PROCESSES}
    hard = hard_limit(pid, "Max processes")
    return {} if hard is None else {"nproc": hard}


def _network(name: str) -> dict[str, Any]:
    if name in ("none", "host", "bridge", "slirp4netns", "pasta"):
        return {"netns": {"nsmode": name}}
    return {"netns": {"nsmode": "bridge"}, "Networks": {name: {}}}


def _rlimit(name: str, value: int) -> dict[str, Any]:
    number = (1 << 64) - 1 if value < 0 else value
    return {"type": name, "soft": number, "hard": number}


_OPTIONS = ("rbind", "rprivate", "nosuid", "nodev")


def _mounts(plan: Plan) -> list[dict[str, Any]]:
    mounts = [
        {
            "type": "bind",
            "source": one.source,
            "destination": one.target,
            "options": [*_OPTIONS, *(["noexec"] if one.source == plan.shared else []), "rw" if one.writable else "ro"],
        }
        for one in plan.mounts
    ]
    if plan.tmpfs:
        runs = "exec" if plan.options.tmp_exec else "noexec"
        options = ["rw", "nosuid", "nodev", runs, f"size={plan.tmpfs}m", "mode=1777"]
        mounts.append({"type": "tmpfs", "source": "tmpfs", "destination": "/tmp", "options": options})
    return mounts


def _resources(plan: Plan) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    if plan.memory is not None:
        resources["memory"] = {"limit": plan.memory * MB, "swap": plan.memory * MB}
    if plan.cpus is not None:
        resources["cpu"] = {"period": CPU_PERIOD, "quota": round(plan.cpus * CPU_PERIOD)}
    most = plan.options.max_processes
    resources["pids"] = {"limit": NO_LIMIT if most is None else most}  # without it podman has a limit of its own
    return resources
