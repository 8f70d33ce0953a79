"""What is pure about images: their names, logins, what an engine says of a pull, work that is done once for many."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hotfn_containers.credentials import Login, containers_files, docker_files, search, state_of
from hotfn_containers.flights import Flights
from hotfn_containers.images import check_image
from hotfn_containers.pull import MAX_LINE, Report, refusal_text
from hotfn_containers.pull_errors import Cause, cause_of, failure
from hotfn_containers.reference import Reference
from hotfn_core.errors import ConfigError, DriverUnavailable

DIGEST = "sha256:" + "0123456789abcdef" * 4
SECRET = "a secret that nobody may see"

# ---- names


@pytest.mark.parametrize(
    ("text", "registry", "path", "tag", "digest", "short"),
    [
        ("python", "docker.io", "library/python", "latest", "", True),
        ("python:3.12-slim", "docker.io", "library/python", "3.12-slim", "", True),
        ("team/app", "docker.io", "team/app", "latest", "", True),
        ("docker.io/python", "docker.io", "library/python", "latest", "", False),
        ("index.docker.io/team/app:1", "docker.io", "team/app", "1", "", False),
        ("localhost/app", "localhost", "app", "latest", "", False),
        ("localhost:5000/app:1", "localhost:5000", "app", "1", "", False),
        ("127.0.0.1:5000/a/b/c/d:1.0_x", "127.0.0.1:5000", "a/b/c/d", "1.0_x", "", False),
        ("[::1]:5000/app", "[::1]:5000", "app", "latest", "", False),
        ("registry.example.com/team/app", "registry.example.com", "team/app", "latest", "", False),
        ("Registry/app", "Registry", "app", "latest", "", False),
        (f"app@{DIGEST}", "docker.io", "library/app", "", DIGEST, True),
        (f"registry.example.com:443/app:1@{DIGEST}", "registry.example.com:443", "app", "1", DIGEST, False),
        ("a__b-c--d.e/f", "docker.io", "a__b-c--d.e/f", "latest", "", True),
    ],
)
def test_scenario_43_names(text: str, registry: str, path: str, tag: str, digest: str, short: bool) -> None:
    if text.startswith("a__b"):  # a dot makes the first part a registry, and this one is none
        with pytest.raises(ValueError, match="no address of a registry"):
            Reference.parse(text)
        return
    found = Reference.parse(text)
    assert (found.registry, found.path, found.tag, found.digest, found.short) == (registry, path, tag, digest, short)
    assert found.written == text
    assert found.version == (digest or tag)
    check_image(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no name of an image"),
        ("Python", "no capitals"),
        ("team/App:1", "no capitals"),
        ("a//b", "no name of an image"),
        ("a b", "no name of an image"),
        ("-a", "no name of an image"),
        ("a:", "the tag ''"),
        ("a:b c", "the tag 'b c'"),
        ("a:" + "x" * 129, "the tag"),
        ("a@sha256:12", "behind the @"),
        ("a@", "behind the @"),
        ("docker://a/b", "has docker:// in front"),
        ("https://registry.example.com/a", "has https:// in front"),
        ("not_a_host.example/a", "no address of a registry"),
        ("a.b:port/c", "no address of a registry"),
        ("a/" * 127 + "ab", "longer than 255"),
    ],
)
def test_scenario_43_no_names(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_image(text)
    assert says in caught.value.message
    assert caught.value.field == "image"


def test_an_id_is_no_name() -> None:
    for text in (DIGEST, DIGEST.removeprefix("sha256:")):
        assert Reference.parse(text).id == text == str(Reference.parse(text))


WORDS = (
    *(
        "unauthorized",
        "denied",
        "not",
        "found",
        "timeout",
        "refused",
        "toomanyrequests",
        "tls",
        "x509",
        "eof",
        "certificate",
    ),
    *("manifest", "unknown", "short-name", "name", "app", "v2", "manifests"),
)
parts = st.sampled_from(WORDS) | st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=6)
registries = st.sampled_from(["", "127.0.0.1:5000/", "registry.example.com/", "localhost/", "denied.example.com/"])
names = st.builds(
    lambda registry, path, tag, digest: f"{registry}{'/'.join(path)}{tag}{digest}",
    registries,
    st.lists(parts, min_size=1, max_size=3),
    st.just("") | parts.map(lambda tag: f":{tag}"),
    st.just("") | st.just(f"@{DIGEST}"),
)


@given(names)
def test_a_name_that_is_whole_stays_as_it_is(text: str) -> None:
    whole = Reference.parse(text)
    again = Reference.parse(str(whole))
    assert (again.repository, again.tag, again.digest) == (whole.repository, whole.tag, whole.digest)
    assert not again.short
    assert str(again) == str(whole)


@given(st.text(max_size=40) | st.text("aA0:/@.-_[]", max_size=20))
def test_any_text_is_a_name_or_is_explained(text: str) -> None:
    try:
        whole = Reference.parse(text)
    except ValueError:
        with pytest.raises(ConfigError, match="^image "):
            check_image(text)
    else:
        assert str(Reference.parse(str(whole))) == str(whole)


# ---- what went wrong

FIELDS = ("registry", "repository", "path", "tag")
SAID: list[tuple[str, int, Cause]] = [
    # docker
    ("manifest for {local}:{tag} not found: manifest unknown: manifest unknown", 404, "missing"),
    ("pull access denied for {local}, repository does not exist or may require 'docker login'", 404, "refused"),
    ("received unexpected HTTP status: 503 Service Unavailable", 500, "other"),
    ("manifest for {image} not found: manifest unknown: manifest unknown", 404, "missing"),
    (
        "pull access denied for {repository}, repository does not exist or may require 'docker login': denied: no",
        404,
        "refused",
    ),
    ("unauthorized: authentication required", 500, "refused"),
    ('Head "http://{registry}/v2/{path}/manifests/{tag}": no basic auth credentials', 500, "refused"),
    ("toomanyrequests: You have reached your pull rate limit", 500, "busy"),
    ("error unmarshalling content: invalid character '<' looking for beginning of value", 500, "other"),
    ('Get "http://{registry}/v2/": dial tcp 127.0.0.1:5000: connect: connection refused', 500, "connect"),
    ('Get "https://{registry}/v2/": dial tcp: lookup host on 10.0.0.1:53: no such host', 500, "name"),
    ('Get "https://{registry}/v2/": http: server gave HTTP response to HTTPS client', 500, "tls"),
    ('Get "https://{registry}/v2/": x509: certificate signed by unknown authority', 500, "tls"),
    ('Get "https://{registry}/v2/": net/http: TLS handshake timeout', 500, "connect"),
    ("no matching manifest for linux/amd64 in the manifest list entries", 404, "platform"),
    ("filesystem layer verification failed for digest " + DIGEST, 200, "other"),
    ("write /data/x: no space left on device", 200, "other"),
    ("something new", 404, "missing"),
    # podman
    ("initializing source docker://{image}: reading manifest {tag} in {repository}: manifest unknown", 200, "missing"),
    ("initializing source docker://{image}: reading manifest {tag} in {repository}: unauthorized", 200, "refused"),
    ("initializing source docker://{image}: reading manifest {tag} in {repository}: denied: no", 200, "refused"),
    ("initializing source docker://{image}: reading manifest {tag} in {repository}: toomanyrequests: no", 200, "busy"),
    ("initializing image from source docker://{image}: invalid character '<'", 200, "other"),
    (
        'pinging container registry {registry}: Get "http://{registry}/v2/": dial tcp 127.0.0.1:5000: refused',
        200,
        "connect",
    ),
    ('short-name "{path}" did not resolve to an alias and no unqualified-search registries are defined', 200, "short"),
    (
        'choosing an image from docker://{image}: no image found in manifest list for architecture "s390x"',
        200,
        "platform",
    ),
]


def filled(text: str, image: Reference) -> str:
    local = image.path.removeprefix("library/")
    return text.format(image=image, local=local, **{name: getattr(image, name) for name in FIELDS})


@given(names, st.sampled_from(SAID))
def test_what_an_image_is_called_does_not_matter(name: str, said: tuple[str, int, Cause]) -> None:
    text, answer, cause = said
    image = Reference.parse(name)
    assert cause_of(filled(text, image), image, answer) == cause


@pytest.mark.parametrize("engine", ["docker", "podman"])
@pytest.mark.parametrize(
    ("cause", "status", "advice"),
    [
        ("missing", 404, "check its name and its tag"),
        ("platform", 404, "not made for the machine of"),
        ("short", 404, "write registry.example.com/app:1"),
        ("refused", 401, "login registry.example.com"),
        ("busy", 503, "wait a while"),
        ("name", 502, "check the name registry.example.com"),
        ("connect", 502, "check that it runs"),
        ("tls", 502, "certificate"),
        ("other", 502, "failed to pull"),
    ],
)
def test_each_cause_has_a_status_and_an_advice(engine: str, cause: Cause, status: int, advice: str) -> None:
    image = Reference.parse("registry.example.com/app:1")
    text, answer, _ = next(one for one in SAID if one[2] == cause)
    said = filled(text, image)
    error = failure(engine, image, said, answer, search([], image))
    assert error.status == status
    assert said in error.message
    assert advice in error.message
    assert error.retry_after == (60.0 if cause == "busy" else None)


def test_a_full_disk_is_explained() -> None:
    image = Reference.parse("app")
    error = failure("docker", image, "write /x: no space left on device", 200, search([], image))
    assert "docker system prune" in error.message


def test_a_local_name_of_podman_is_explained() -> None:
    image = Reference.parse("localhost/app")
    error = failure("podman", image, "dial tcp 127.0.0.1:443: connect: connection refused", 200, search([], image))
    assert "built or loaded there" in error.message


# ---- what an engine says while it pulls


def report(*pieces: bytes) -> tuple[str, str]:
    one = Report()
    for piece in pieces:
        one.feed(piece)
    one.end()
    return one.error, one.last


DOCKER = (
    b'{"status":"Pulling from a/b","id":"1"}\r\n{"status":"Downloading","progressDetail":{"current":1},"id":"3fed"}\r\n'
    b'{"errorDetail":{"message":"it went wrong"},"error":"in short"}\r\n'
)
PODMAN = b'{"stream":"Trying to pull a/b:1...\\n"}\n{"images":["19fd"],"id":"19fd"}\n'


def test_reports_of_both_engines() -> None:
    assert report(DOCKER) == ("it went wrong", "Downloading 3fed")
    assert report(PODMAN) == ("", "Trying to pull a/b:1...")
    assert report(b'{"stream":"x"}\n{"error":"wrong"}') == ("wrong", "x")
    assert report(b"[" * MAX_LINE) == ("", "")
    assert report(b'[1]\nnull\n<html>\n\xff\xfe\n{"error": ') == ("", "")


@given(
    st.lists(
        st.sampled_from([DOCKER, PODMAN, b"\n", b"{", b'{"status": "' + b"x" * MAX_LINE + b'"}\n', b'{"error":"e"}\n'])
    ),
    st.lists(st.integers(0, 3 * MAX_LINE), max_size=8),
)
def test_pieces_of_a_report_make_no_difference(said: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(said)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    assert report(*(whole[start:end] for start, end in itertools.pairwise(places))) == report(whole)


def test_a_report_holds_little() -> None:
    one = Report()
    for _ in range(100):
        one.feed(b"x" * MAX_LINE)
        assert len(one._held) <= MAX_LINE
    one.feed(b'\n{"status":"on"}\n')
    assert one.last == "on"


def test_the_text_of_a_refusal() -> None:
    assert refusal_text(404, b'{"message":"no such thing"}') == "no such thing"
    assert refusal_text(502, b"<html>") == "<html>"
    assert refusal_text(500, b"") == refusal_text(500, b'{"message":""}') == "HTTP status 500"


# ---- logins

IMAGE = Reference.parse("registry.example.com:5000/team/app:1")
HUB = Reference.parse("team/app")


def entry(user: str, password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def written(folder: Path, config: Any, name: str = "config.json") -> Path:
    file = folder / name
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    return file


@pytest.mark.parametrize(
    ("key", "image"),
    [
        ("registry.example.com:5000", IMAGE),
        ("https://registry.example.com:5000", IMAGE),
        ("http://registry.example.com:5000/v2/", IMAGE),
        ("registry.example.com:5000/v1/", IMAGE),
        ("registry.example.com:5000/team", IMAGE),
        ("registry.example.com:5000/team/app", IMAGE),
        ("https://index.docker.io/v1/", HUB),
        ("docker.io", HUB),
        ("index.docker.io", HUB),
        ("docker.io/team", HUB),
    ],
)
def test_a_login_is_found(tmp_path: Path, key: str, image: Reference) -> None:
    file = written(tmp_path, {"auths": {"other.example.com": entry("other"), key: entry("me", "a:b:c")}})
    found = search([file], image)
    assert found.login == Login(image.registry, str(file), "me", "a:b:c")
    assert str(file) in found.told()


@pytest.mark.parametrize(
    "key",
    [
        "registry.example.com",
        "example.com:5000",
        "registry.example.com:5000/team/app/more",
        "registry.example.com:5000/te",
        "",
    ],
)
def test_a_login_for_something_else_is_not_taken(tmp_path: Path, key: str) -> None:
    found = search([written(tmp_path, {"auths": {key: entry("me"), "docker.io": entry("hub")}})], IMAGE)
    assert found.login is None
    assert "without a login: there is none in" in found.told()


def test_the_most_particular_login_and_the_first_file_count(tmp_path: Path) -> None:
    host, team = "registry.example.com:5000", "registry.example.com:5000/team"
    first = written(tmp_path, {"auths": {host: entry("host"), team: entry("team")}}, "first.json")
    second = written(tmp_path, {"auths": {f"{team}/app": entry("second")}}, "second.json")
    for files, user in (([first, second], "team"), ([second, first], "second")):
        login = search(files, IMAGE).login
        assert login is not None
        assert login.username == user


def test_a_token_and_plain_fields(tmp_path: Path) -> None:
    file = written(tmp_path, {"auths": {"docker.io": {"identitytoken": SECRET, "auth": ""}}})
    assert search([file], HUB).login == Login("docker.io", str(file), token=SECRET)
    file = written(tmp_path, {"auths": {"docker.io": {"username": "me", "password": SECRET}}})
    assert search([file], HUB).login == Login("docker.io", str(file), "me", SECRET)


def test_headers_name_the_registry() -> None:
    def decoded(text: str) -> Any:
        return json.loads(base64.urlsafe_b64decode(text))

    login = Login("docker.io", "", "me", SECRET)
    server = "https://index.docker.io/v1/"
    assert decoded(login.for_docker()) == {"username": "me", "password": SECRET, "serveraddress": server}
    assert decoded(login.for_podman()) == {"docker.io": {"username": "me", "password": SECRET}}
    token = Login("registry.example.com", "", token=SECRET)
    assert decoded(token.for_docker()) == {"identitytoken": SECRET, "serveraddress": "registry.example.com"}
    assert token.for_podman() == ""


def test_a_file_that_is_damaged_is_told_and_not_shown(tmp_path: Path) -> None:
    text = json.dumps({"auths": {IMAGE.registry: {"auth": base64.b64encode(SECRET.encode()).decode()}}})
    for config, says in ((text, "damaged"), ('{"auths": ' + SECRET, "no JSON")):
        found = search([written(tmp_path, config)], IMAGE)
        assert found.login is None
        assert says in found.told()
        assert SECRET not in repr(found) + found.told()


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    found = search([tmp_path, tmp_path / "absent", tmp_path / "absent" / "more"], IMAGE)
    assert found.login is None
    assert [one for one in found.troubles if "cannot be read" in one] == list(found.troubles) != []


KEYS = ("auths", "credHelpers", "credsStore", IMAGE.registry, "auth", "username", "identitytoken")
values = st.recursive(
    st.none() | st.text(max_size=9),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=10,
)


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 200_000)
def test_any_file_is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_bytes(data)
    search([file], IMAGE)


def test_logging_in_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    states = [state_of([file])]
    for config in ("{}", '{"auths": {}}'):
        written(tmp_path, config)
        states.append(state_of([file]))
    assert len(set(states)) == 3
    assert state_of([file]) == states[-1]


def test_where_logins_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr("os.getuid", lambda: 7)
    docker = Path("/home/me/.docker/config.json")
    assert docker_files() == [docker]
    config = Path("/home/me/.config/containers/auth.json")
    assert containers_files() == [Path("/run/containers/7/auth.json"), config, docker]
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/cfg")
    monkeypatch.setenv("DOCKER_CONFIG", "/dock")
    docker = Path("/dock/config.json")
    assert docker_files() == [docker]
    expected = [Path("/run/user/7/containers/auth.json"), Path("/cfg/containers/auth.json"), docker]
    assert containers_files() == expected
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "/auth.json")
    assert containers_files() == [Path("/auth.json")]


# ---- helper programs

Helper = Callable[[str], Path]


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helper:
    """Install a credential helper `test` that is this shell script; what it was asked is in the file `asked`."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def install(script: str) -> Path:
        program = tmp_path / "docker-credential-test"
        program.write_text(f'#!/bin/sh\n{{ echo "$*"; cat; }} > {tmp_path}/asked\n{script}\n')
        program.chmod(0o755)
        return tmp_path / "asked"

    return install


@pytest.mark.parametrize(
    "config", [{"credsStore": "test"}, {"credHelpers": {IMAGE.registry: "test"}, "credsStore": "x"}]
)
def test_a_helper_is_asked(tmp_path: Path, helper: Helper, config: dict[str, Any]) -> None:
    asked = helper(f"""echo '{{"ServerURL": "x", "Username": "me", "Secret": "{SECRET}"}}'""")
    found = search([written(tmp_path, config)], IMAGE)
    assert found.login == Login(IMAGE.registry, "docker-credential-test", "me", SECRET)
    assert asked.read_text() == f"get\n{IMAGE.registry}"
    assert SECRET not in repr(found) + found.told()


def test_a_helper_has_a_token_of_the_hub(tmp_path: Path, helper: Helper) -> None:
    asked = helper(f"""echo '{{"Username": "<token>", "Secret": "{SECRET}"}}'""")
    found = search([written(tmp_path, {"credsStore": "test"})], HUB)
    assert found.login == Login("docker.io", "docker-credential-test", token=SECRET)
    assert asked.read_text() == "get\nhttps://index.docker.io/v1/"


@pytest.mark.parametrize(
    ("script", "trouble"),
    [
        ("echo 'credentials not found in native keychain'; exit 1", ""),
        (f"echo '{SECRET}'; exit 3", "ended with status 3"),
        (f"echo '{SECRET}'", "did not answer with a login"),
        (f"""echo '["{SECRET}"]'""", "did not answer with a login"),
    ],
)
def test_without_a_helper_the_file_counts(tmp_path: Path, helper: Helper, script: str, trouble: str) -> None:
    helper(script)
    config = {"credsStore": "test", "auths": {IMAGE.registry: entry("from the file", "p")}}
    found = search([written(tmp_path, config)], IMAGE)
    assert found.login is not None
    assert found.login.username == "from the file"
    assert [trouble in one for one in found.troubles] == ([True] if trouble else [])
    assert SECRET not in repr(found) + found.told()


def test_a_helper_that_is_not_there(tmp_path: Path) -> None:
    found = search([written(tmp_path, {"credsStore": "absent-here"})], IMAGE)
    assert "docker-credential-absent-here" in found.told()
    assert "is not installed" in found.told()
    found = search([written(tmp_path, {"credsStore": "../evil"})], IMAGE)
    assert "that is a path" in found.told()


def test_a_helper_that_hangs(tmp_path: Path, helper: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    helper("exec sleep 600")
    monkeypatch.setattr("hotfn_containers.credentials.HELPER_SECONDS", 0.2)
    assert "did not answer within 0.2 s" in search([written(tmp_path, {"credsStore": "test"})], IMAGE).told()


# ---- done once for many


class Work:
    """Work that ends when told; counts how often it began and how often it was cancelled."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self.going = asyncio.Event()
        self.result: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        self.begun += 1
        self.going.set()
        try:
            return await asyncio.shield(self.result)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_scenario_44_many_wait_for_one() -> None:
    async def main() -> None:
        flights, one, two = Flights[str]("it was done"), Work(), Work()
        waiting = [asyncio.create_task(flights.join("a", one)) for _ in range(10)]
        waiting += [asyncio.create_task(flights.join("b", two)) for _ in range(10)]
        await one.going.wait()
        await two.going.wait()
        one.result.set_result("one")
        two.result.set_exception(KeyError("two"))
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert ended[:10] == ["one"] * 10
        assert [type(one) for one in ended[10:]] == [KeyError] * 10
        assert (one.begun, two.begun) == (1, 1)
        assert await flights.join("a", one) == "one"
        assert one.begun == 2

    asyncio.run(main())


def test_who_leaves_leaves_the_others_alone() -> None:
    async def main() -> None:
        flights, work = Flights[str]("it was done"), Work()
        first, second = (asyncio.create_task(flights.join("a", work)) for _ in range(2))
        await work.going.wait()
        await cancelled(first)
        assert work.cancelled == 0
        work.result.set_result("done")
        assert await second == "done"

    asyncio.run(main())


@pytest.mark.parametrize("keep", [False, True])
def test_when_the_last_one_leaves(keep: bool) -> None:
    async def main() -> None:
        flights, work, after = Flights[str]("it was done"), Work(), Work()
        first = asyncio.create_task(flights.join("a", work, keep=keep))
        second = asyncio.create_task(flights.join("a", work))
        await work.going.wait()
        await cancelled(first)
        await cancelled(second)
        late = asyncio.create_task(flights.join("a", after))  # never joins work that was ended
        work.result.set_result("kept")
        after.result.set_result("anew")
        assert await late == ("kept" if keep else "anew")
        assert (work.cancelled, after.begun) == ((0, 0) if keep else (1, 1))

    asyncio.run(main())


def test_closing_ends_all_and_tells_who_waits() -> None:
    async def main() -> None:
        flights, work = Flights[str]("it was done"), Work()
        kept = asyncio.create_task(flights.join("a", work, keep=True))
        waits = asyncio.create_task(flights.join("b", work))
        await work.going.wait()
        await asyncio.sleep(0)
        await cancelled(kept)
        await flights.aclose()
        assert work.cancelled == 2
        for late in (waits, flights.join("c", work)):
            with pytest.raises(DriverUnavailable, match="closed before it was done"):
                await late
        await flights.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
