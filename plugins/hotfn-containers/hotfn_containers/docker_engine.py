"""Docker, through the package `docker`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

import docker
import docker.errors
import docker.tls
import requests.exceptions

from hotfn_core.errors import DriverUnavailable

from .credentials import Login, docker_files
from .engine import REQUEST_SECONDS, About, Engine, Found, Image, State, mode_of
from .oom import oom_killed, verdict
from .options import Mount
from .plan import MB, Plan
from .pull import PullRequest
from .reference import Reference
from .tls import Tls
from .transport import UnixAdapter
from .trouble import NameTaken, NoSuchContainer, NoSuchImage, Refused, explain

OLDEST_API = (1, 40)
"""Docker 19.03. Older ones lack limits that are promised."""

NEWEST_API = (1, 45)
"""What the package was written for; a newer engine speaks it as well."""

GROUPS = ("/docker/{}", "/system.slice/docker-{}.scope")
"""The control groups that docker makes for a container, by itself or with systemd."""

LIMITS: Mapping[str, tuple[str, ...]] = {
    "memory": ("MemoryLimit",),
    "swap": ("SwapLimit",),
    "cpus": ("CpuCfsPeriod", "CpuCfsQuota"),
    "pids": ("PidsLimit",),
}
"""What the engine has to say yes to for each limit to hold."""


class DockerEngine(Engine):
    """A Docker engine, or what speaks its API."""

    name: ClassVar[str] = "docker"

    def _make_client(self) -> Any:
        tls = self.endpoint.tls
        client = docker.APIClient(
            base_url=self.endpoint.url,
            version=self.about.api or "1.40",
            timeout=REQUEST_SECONDS,
            tls=False if tls is None else _tls_config(tls),
        )
        client.trust_env = False  # a proxy is for images, not for the engine, and its certificate is what `tls` says
        if self.endpoint.unix:
            client.mount("http+docker://", UnixAdapter(self.endpoint.unix))
        return client

    def _connect(self) -> About:
        with self._told():
            facts = self.client.version(api_version=False)
        self.client.timeout = REQUEST_SECONDS
        about = About(str(facts.get("Version", "")), str(facts.get("ApiVersion", "")))
        if any("podman" in str(part.get("Name", "")).lower() for part in facts.get("Components") or ()):
            raise DriverUnavailable(
                f"what listens at {self.endpoint.url} ({self.endpoint.source}) is podman {about.version}: take the "
                f"driver podman, with CONTAINER_HOST={self.endpoint.url}"
            )
        if _version(about.api) < OLDEST_API:
            raise DriverUnavailable(
                f"docker at {self.endpoint.url} is version {about.version or '?'} with API {about.api or '?'}: "
                f"hotfn needs API {'.'.join(map(str, OLDEST_API))} (Docker 19.03) or newer"
            )
        api = min(_version(about.api), NEWEST_API)
        with self._told():
            facts = self.client.info()
        return About(
            about.version,
            ".".join(map(str, api)),
            tuple(detail(facts)),
            cpus=int(facts.get("NCPU") or 0),
            lacks=lacks(facts),
        )

    def image(self, name: str) -> Image:
        with self._told(image=name):
            facts = self.client.inspect_image(name)
        return Image.of(facts)

    def login_files(self) -> list[Path]:
        return docker_files()

    def pull_request(self, reference: Reference, login: Login | None) -> PullRequest:
        query = urlencode({"fromImage": reference.repository, "tag": reference.version})
        headers = {"X-Registry-Auth": login.for_docker()} if login else {}
        return PullRequest(f"/v{self.about.api}/images/create?{query}", headers)

    def create(self, plan: Plan, name: str, labels: Mapping[str, str]) -> str:
        options = plan.options
        with self._told(image=plan.image):
            made = self.client.create_container(
                plan.image,
                list(plan.command) or None,
                name=name,
                entrypoint=None if options.entrypoint is None else list(options.entrypoint),
                environment=dict(plan.env),
                labels=dict(labels),
                working_dir=options.cwd or None,
                user=options.user,
                stdin_open=True,
                healthcheck={"Test": ["NONE"]},
                host_config=host_config(plan),
            )
        return str(made["Id"])

    def init(self, container: str) -> None:
        return None

    def start(self, container: str) -> None:
        with self._told(container=container):
            self.client.start(container)

    def kill(self, container: str, signal: str) -> None:
        try:
            with self._told(container=container):
                self.client.kill(container, signal)
        except Refused as error:
            if not _not_running(error):
                raise

    def pause(self, container: str) -> None:
        with self._told(container=container):
            self.client.pause(container)

    def unpause(self, container: str) -> None:
        with self._told(container=container):
            self.client.unpause(container)

    def state(self, container: str) -> State:
        groups = [group.format(container) for group in GROUPS]
        before = oom_killed(groups)  # the group may be gone by the time that docker has answered
        with self._told(container=container):
            state = self.client.inspect_container(container)["State"]
        return State(
            running=bool(state["Running"]),
            code=state.get("ExitCode"),
            oom=verdict(state.get("OOMKilled"), before, oom_killed(groups)),
            error=state.get("Error") or "",
        )

    def remove(self, container: str) -> None:
        try:
            with self._told(container=container):
                self.client.remove_container(container, v=True, force=True)
        except NoSuchContainer:
            return
        except Refused as error:
            if "already in progress" not in error.message:
                raise

    def mode(self, container: str, path: str) -> int | None:
        url = f"{self.client.base_url}/v{self.client.api_version}/containers/{container}/archive"
        with self._told(container=container):
            answer = self.client.head(url, params={"path": path}, timeout=REQUEST_SECONDS)
        return mode_of("docker", answer.status_code, answer.headers)

    def labelled(self, label: str) -> list[Found]:
        with self._told():
            found = self.client.containers(all=True, filters={"label": label})
        return [Found(one["Id"], (one.get("Names") or [""])[0].lstrip("/"), one.get("Labels") or {}) for one in found]

    def lifeline_request(self) -> bytes:
        # Events of a kind that there is not. A request that is not whole is given up by Docker after some minutes.
        return b'GET /events?filters={"type":["hotfn"]} HTTP/1.1\r\nHost: localhost\r\n\r\n'

    def attach_target(self, container: str) -> str:
        query = "stream=1&stdin=1&stdout=1&stderr=1"
        return f"/v{self.about.api}/containers/{quote(container)}/attach?{query}"

    @contextmanager
    def _told(self, *, container: str = "", image: str = "") -> Iterator[None]:
        """Translate what the package raises."""
        try:
            yield
        except docker.errors.ImageNotFound as error:
            raise NoSuchImage(f"docker has no image {image}: {_text(error)}", 404) from error
        except docker.errors.NotFound as error:
            if image and "no such image" in _text(error).lower():
                raise NoSuchImage(f"docker has no image {image}: {_text(error)}", 404) from error
            kind = NoSuchContainer if container and "no such container" in _text(error).lower() else Refused
            raise kind(f"docker: {explain('docker', _text(error))}", 404) from error
        except docker.errors.APIError as error:
            if "is already in use by" in _text(error):
                raise NameTaken(f"docker: {_text(error)}", 409) from error
            raise Refused(f"docker: {explain('docker', _text(error))}", error.status_code or 500) from error
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise self.lost(error) from error


def _text(error: docker.errors.APIError) -> str:
    return str(error.explanation or error)


def _version(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("."))
    except ValueError:
        return (0,)


def _not_running(error: Refused) -> bool:
    return error.answer == 409 or "is not running" in error.message


def lacks(info: Mapping[str, Any]) -> frozenset[str]:
    """Say which limits the engine takes and holds nobody to."""
    if info.get("CgroupDriver") == "none":  # rootless, without control groups of its own
        return frozenset(LIMITS)
    return frozenset(limit for limit, names in LIMITS.items() if not all(info.get(one, True) for one in names))


def detail(info: Mapping[str, Any]) -> Iterator[str]:
    """Say in words what of the engine's machine matters."""
    yield f"cgroup v{info.get('CgroupVersion') or '1'}"
    yield str(info.get("Driver") or "")
    security = " ".join(info.get("SecurityOptions") or ())
    if "name=seccomp" not in security:
        yield "no seccomp filter"
    if "name=rootless" in security:
        yield "rootless"
    if not info.get("SwapLimit", True):
        yield "no limit of swap: its kernel has none, so memory does not bound swap"


def _tls_config(tls: Tls) -> Any:
    cert = (tls.cert, tls.key or tls.cert) if tls.cert else None
    return docker.tls.TLSConfig(client_cert=cert, ca_cert=tls.ca or None, verify=tls.verify)


def host_config(plan: Plan) -> dict[str, Any]:
    """Return the limits of a plan as Docker's HostConfig."""
    options = plan.options
    config: dict[str, Any] = {
        "NetworkMode": plan.network,
        "ReadonlyRootfs": options.read_only,
        "CapDrop": ["ALL"],
        "CapAdd": list(options.capabilities),
        "SecurityOpt": [] if options.new_privileges else ["no-new-privileges"],
        "Init": options.init,
        "LogConfig": {"Type": "none"},  # the streams are ours; a log would grow without a bound
        "RestartPolicy": {"Name": "no"},
        "IpcMode": "private",
        "Ulimits": [{"Name": name, "Soft": value, "Hard": value} for name, value in plan.ulimits().items()],
        "Mounts": [_mount(one) for one in plan.mounts],  # not Binds: it makes a source that is missing
    }
    if plan.tmpfs:
        runs = "exec" if options.tmp_exec else "noexec"
        config["Tmpfs"] = {"/tmp": f"rw,nosuid,nodev,{runs},size={plan.tmpfs}m,mode=1777"}
    if plan.memory is not None:
        config["Memory"] = config["MemorySwap"] = plan.memory * MB
    if plan.cpus is not None:
        config["NanoCpus"] = round(plan.cpus * 1e9)
    if options.max_processes is not None:
        config["PidsLimit"] = options.max_processes
    return config


def _mount(one: Mount) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": one.source,
        "Target": one.target,
        "ReadOnly": not one.writable,
        "BindOptions": {"Propagation": "rprivate"},
    }
