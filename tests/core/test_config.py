"""Configuration files: what they may say, and that every error names the file, the line and the key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core import ConfigError, FunctionSpec
from hotfn_core.config import Config, find_config, load_config, parse_duration, read_config
from hotfn_core.config._source import MAX_BYTES


def toml(folder: Path, text: str) -> Path:
    path = folder / "functions.toml"
    path.write_text(text)
    return path


def yaml(folder: Path, text: str, name: str = "func.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def error(path: Path) -> str:
    """Return the message for a file that is wrong, without the path that every message starts with."""
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    assert raised.value.message.startswith(str(path))
    return raised.value.message.removeprefix(str(path))


class TestDuration:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("0", 0),
            ("30", 30),
            ("1.5", 1.5),
            ("500ms", 0.5),
            ("30s", 30),
            ("1m", 60),
            ("1m30s", 90),
            ("1.5h", 5400),
            ("1d2h3m4s5ms", 93784.005),
        ],
    )
    def test_what_people_write(self, text: str, seconds: float) -> None:
        assert parse_duration(text) == pytest.approx(seconds)

    @pytest.mark.parametrize(
        "text", ["", "s", "x", "-1s", "1 s", "30sec", "1s1m", "1m1m", "1e3", "nan", "inf", "\u0661s", "1s\n"]
    )
    def test_what_is_no_duration(self, text: str) -> None:
        with pytest.raises(ValueError, match="not a span of time"):
            parse_duration(text)

    @given(st.integers(0, 10**6))
    def test_a_number_is_seconds(self, seconds: int) -> None:
        assert parse_duration(str(seconds)) == parse_duration(f"{seconds}s") == seconds


class TestFunctionsToml:
    def test_every_field_arrives(self, tmp_path: Path) -> None:
        path = toml(
            tmp_path,
            """
            [functions.everything]
            app = "shop"
            driver = "podman"
            image = "img:1"
            command = ["a", "b c"]
            format = "http"
            env = { A = "1" }
            headers = { X = "y" }
            memory = 64
            cpus = 0.5
            timeout = 1.5
            idle_timeout = "2m"
            queue_timeout = "500ms"
            start_timeout = 4
            stop_grace = 0
            max_concurrency = 3
            min_instances = 2
            max_queue = 0
            max_calls = 9
            max_age = "1d"
            max_request = 10
            max_response = 11
            best_effort = true
            [functions.everything.driver_options]
            network = "none"
            """,
        )
        assert load_config(path).function("everything") == FunctionSpec(
            name="everything",
            app="shop",
            driver="podman",
            image="img:1",
            command=("a", "b c"),
            format="http",
            env={"A": "1"},
            headers={"X": "y"},
            memory=64,
            cpus=0.5,
            timeout=1.5,
            idle_timeout=120,
            queue_timeout=0.5,
            start_timeout=4,
            stop_grace=0,
            max_concurrency=3,
            min_instances=2,
            max_queue=0,
            max_calls=9,
            max_age=86400,
            max_request=10,
            max_response=11,
            best_effort=True,
            driver_options={"network": "none"},
        )

    def test_defaults_are_below_and_tables_are_merged(self, tmp_path: Path) -> None:
        path = toml(
            tmp_path,
            """
            app = "text"
            [defaults]
            format = "http"
            timeout = 5
            env = { A = "default", B = "default" }
            [functions.one]
            command = ["one"]
            env = { B = "own" }
            [functions.two]
            command = ["two"]
            app = "other"
            timeout = 6
            """,
        )
        config = load_config(path)
        one, two = config.functions.values()
        assert (one.full_name, one.format, one.timeout, dict(one.env)) == (
            "text/one",
            "http",
            5.0,
            {"A": "default", "B": "own"},
        )
        assert (two.full_name, two.timeout, dict(two.env)) == ("other/two", 6.0, {"A": "default", "B": "default"})

    def test_a_relative_cwd_is_seen_from_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "conf").mkdir()
        path = toml(tmp_path / "conf", '[functions.f]\ncommand=["./x"]\ndriver_options={cwd="work"}\n')
        monkeypatch.chdir(tmp_path)
        spec = load_config(os.path.relpath(path)).function()
        assert spec.driver_options["cwd"] == str(tmp_path / "conf" / "work")
        assert spec.command == ("./x",)  # taken as it is

    def test_an_absolute_cwd_stays(self, tmp_path: Path) -> None:
        path = toml(tmp_path, '[functions.f]\ncommand=["x"]\ndriver_options={cwd="/srv"}\n')
        assert load_config(path).function().driver_options["cwd"] == "/srv"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", ": has no function; write a table [functions.NAME]"),
            ("[functions.f\n", ": is not TOML: "),
            ("a = 1\na = 2\n", ": is not TOML: "),
            pytest.param(f"a = {'9' * 5000}\n", ": is not TOML: Exceeds the limit", id="an endless number"),
            (
                '[functions.f]\ncommand=["x"]\n\ntimeuot = 1\n',
                ':4: functions.f.timeuot: unknown key; did you mean "timeout"?',
            ),
            ('[function.f]\ncommand=["x"]\n', ': function: unknown key; did you mean "functions"?'),
            ('timeout = 1\n[functions.f]\ncommand=["x"]\n', ":1: timeout: belongs into [functions.NAME] or [defaults]"),
            ('[defaults]\nname = "x"\n[functions.f]\ncommand=["x"]\n', ":2: defaults.name: unknown key"),
            ('[functions.f]\nname = "g"\ncommand=["x"]\n', ":2: functions.f.name: the name of the table is"),
            ("functions = 3\n", ":1: functions: must be a table"),
            ("[functions]\nf = 3\n", ": functions.f: must be a table"),
            ("defaults = 3\n[functions.f]\n", ":1: defaults: must be a table"),
            ("max_starting = 3\n[functions]\n", ":1: max_starting: must be a table, [max_starting], not 3"),
            (
                "[max_starting]\nlocal = 1\ndocker = 0\n[functions]\n",
                ":3: max_starting.docker: must be a whole number, at least 1, not 0",
            ),
            ("[max_starting]\nlocal = true\n[functions]\n", ":2: max_starting.local: must be a whole number"),
            ('[max_starting]\nlocal = "4"\n[functions]\n', ":2: max_starting.local: must be a whole number"),
            (
                '[functions.f]\ncommand=["x"]\nmemory = 0\n',
                ":3: functions.f.memory: memory must be a whole number of MB",
            ),
            (
                '[functions.f]\ncommand=["x"]\ntimeout = "soon"\n',
                ":3: functions.f.timeout: 'soon' is not a span of time",
            ),
            ('[defaults]\ntimeout = -1\n[functions.f]\ncommand=["x"]\n', ":2: functions.f.timeout: timeout must be"),
            ('[functions.f]\ncommand = "x y"\n', ":2: functions.f.command: command must be a list of strings"),
            ("[functions.f]\nmemory = 5\n", ": functions.f.command: a function needs a command or an image"),
            ('[functions."a b"]\ncommand = ["x"]\n', ": functions.a b.name: name must be"),
        ],
    )
    def test_errors_say_where(self, tmp_path: Path, text: str, message: str) -> None:
        assert error(toml(tmp_path, text)).startswith(message)

    def test_how_many_copies_drivers_start_at_a_time(self, tmp_path: Path) -> None:
        path = toml(tmp_path, '[max_starting]\nlocal = 1\ndocker = 4\n[functions.f]\ncommand=["x"]\n')
        assert load_config(path).max_starting == {"local": 1, "docker": 4}
        assert load_config(toml(tmp_path, '[functions.f]\ncommand=["x"]\n')).max_starting == {}

    def test_the_other_functions_are_right(self, tmp_path: Path) -> None:
        path = toml(tmp_path, '[functions.good]\ncommand=["x"]\n[functions.bad]\n[functions.worse]\nmemory=0\n')
        config, problems = read_config(path)
        assert list(config.functions) == ["good"]
        assert list(problems) == ["bad", "worse"]

    def test_secrets_are_not_in_messages(self, tmp_path: Path) -> None:
        path = toml(tmp_path, '[functions.f]\ncommand=["x"]\nenv = { TOKEN = ["hunter2"], PIN = "hunter3" }\n')
        message = error(path)
        assert "TOKEN" in message
        assert "hunter" not in message


class TestFuncYaml:
    def test_the_file_of_ironfunctions(self, tmp_path: Path) -> None:
        path = yaml(
            tmp_path,
            """
name: iron/hello
version: 0.10
runtime: go
entrypoint: ./func
path: /hello
type: sync
memory: 128
format: http
timeout: 30s
idle_timeout: 1m
max_concurrency: 3
config:
  DEBUG: yes
  RATE: 1.10
  EMPTY:
headers:
  content-type: [text/plain]
  vary:
  - a
  - b
  x: one
build:
- make
tests:
- name: greets
  in: '{"name": "Johnny"}'
  out: "Hello Johnny!"
  env:
    A: b
""",
        )
        config = load_config(path)
        assert config.function() == FunctionSpec(
            name="hello",
            driver="docker",
            image="iron/hello:0.10",
            memory=128,
            format="http",
            timeout=30,
            idle_timeout=60,
            max_concurrency=3,
            env={"DEBUG": "yes", "RATE": "1.10", "EMPTY": ""},
            headers={"content-type": "text/plain", "vary": "a, b", "x": "one"},
        )
        assert config.tests["hello"][0]["out"] == "Hello Johnny!"
        assert [note.removeprefix(f"{path}:").split(" is not")[0] for note in config.notes] == [
            "4: runtime",
            "6: path",
            "23: build",
            "5: entrypoint",
        ]

    def test_the_file_of_fn(self, tmp_path: Path) -> None:
        path = yaml(
            tmp_path,
            "schema_version: 20180708\nname: hello\nversion: 0.0.1\nruntime: python\nbuild_image: a\nrun_image: b\n"
            "entrypoint: /python/bin/fdk /function/func.py handler\nmemory: 256\nformat: http\ntimeout: 30\n"
            "triggers:\n- name: t\n  type: http\n  source: /t\nexpects:\n  config: []\nannotations: {}\n",
        )
        spec = load_config(path).function("default/hello")
        assert (spec.image, spec.timeout, spec.memory) == ("hello:0.0.1", 30.0, 256)

    @pytest.mark.parametrize(
        ("keys", "image"),
        [
            ("name: hello", "hello"),
            ("name: hello:2", "hello:2"),
            ("name: hello:2\nversion: 3", "hello:2"),
            ("name: reg.example:5000/a/hello\nversion: 3", "reg.example:5000/a/hello:3"),
            ("name: hello\nversion: 3\nimage: other@sha256:00", "other@sha256:00"),
        ],
    )
    def test_the_image(self, tmp_path: Path, keys: str, image: str) -> None:
        spec = load_config(yaml(tmp_path, keys)).function()
        assert (spec.name, spec.image, spec.driver) == ("hello", image, "docker")

    def test_without_an_image_entrypoint_and_cmd_are_the_command(self, tmp_path: Path) -> None:
        path = yaml(
            tmp_path, "name: hello\ndriver: local\nentrypoint: python3 'my func.py'\ncmd: handler\nformat: ''\n"
        )
        config = load_config(path)
        assert config.function().command == ("python3", "my func.py", "handler")
        assert config.function().format == "default"
        assert config.notes == ()

    def test_hotfns_own_fields_are_understood_too(self, tmp_path: Path) -> None:
        path = yaml(tmp_path, "name: f\ndriver: local\ncommand: [./f]\nmax_queue: 7\ndriver_options: {cwd: x}\n")
        spec = load_config(path).function()
        assert (spec.command, spec.max_queue, spec.driver_options["cwd"]) == (("./f",), 7, str(tmp_path / "x"))

    def test_json_is_yaml(self, tmp_path: Path) -> None:
        path = yaml(tmp_path, '{"name": "a/f", "config": {"A": 1}}', "func.json")
        assert load_config(path).function().env["A"] == "1"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", ": is not a function file: it has no keys"),
            ("- a\n", ": is not a function file: it has no keys"),
            ("name: [\n", ":2: is not YAML: "),
            ("name: a\n---\nname: b\n", ":2: is not YAML: "),
            ("name: a\nx: \x01\n", ": is not YAML: "),
            ("name: a\nwhen: 2026-99-99\n", ":2: when: is no value: month"),
            ("memory: 1\n", ": name: is missing"),
            ("name: {a: b}\n", ":1: name: must be text"),
            ("name: a\nmemory: 1\nname: b\n", ":3: name: is there twice"),
            ("name: a\nconfig:\n  A: 1\n  A: 2\n", ":4: config.A: is there twice"),
            ("name: a\n? [b]\n: c\n", ":2: a key must be a word"),
            ("name: a\nidle_timout: 3\n", ':2: idle_timout: unknown key; did you mean "idle_timeout"?'),
            ("name: a\nenv: {A: b}\n", ":2: env: unknown key; a function file calls it config"),
            ("name: a\ntype: async\n", ":2: type: async functions are not supported"),
            ("name: a\ntype: other\n", ":2: type: must be sync, not 'other'"),
            ("name: a\ntimeout: 60000000000\n", ":2: timeout: timeout must be a number of seconds"),
            ("name: a\ntimeout: soon\n", ":2: timeout: 'soon' is not a span of time"),
            ("name: a\nmemory: 1.5\n", ":2: memory: memory must be a whole number of MB"),
            ("name: a\nconfig: 3\n", ":2: config: must be a table of strings"),
            ("name: a\nheaders: 3\n", ":2: headers: headers must be a table"),
            ("name: a\nheaders: {a: [{b: c}]}\n", ":2: headers: headers: a must be a string on one line"),
            ("name: a\nimage: {a: b}\n", ":2: image: must be text"),
            ("name: a\ntype: [async]\n", ":2: type: must be text"),
            ("name: a\ntests: 3\n", ":2: tests: must be a list of tests"),
            ('name: a\ndriver: local\ncmd: "\'"\n', ":3: cmd: cannot be split into words"),
            ("name: a\nconfig: &x {A: b}\nheaders: *x\n", ":3: is not YAML: aliases are not supported"),
        ],
    )
    def test_errors_say_where(self, tmp_path: Path, text: str, message: str) -> None:
        assert error(yaml(tmp_path, text)).startswith(message)

    def test_no_object_is_made_of_a_tag(self, tmp_path: Path) -> None:
        assert "is not YAML" in error(yaml(tmp_path, "name: a\nbuild: !!python/object/apply:os.getcwd []\n"))


class TestTheFile:
    @pytest.mark.parametrize("make", [toml, yaml])
    def test_text_that_is_nested_too_deeply(self, tmp_path: Path, make: object) -> None:
        deep = "[" * 50_000
        assert "nested too deeply" in error(
            toml(tmp_path, f"a = {deep}") if make is toml else yaml(tmp_path, f"a: {deep}")
        )

    def test_a_file_of_any_size_is_read_to_a_bound(self, tmp_path: Path) -> None:
        path = toml(tmp_path, "#" * MAX_BYTES * 2)
        assert error(path) == f": is larger than {MAX_BYTES} bytes, which no configuration is"

    def test_a_file_that_never_ends(self) -> None:
        link = Path("/dev/zero")
        with pytest.raises(ConfigError, match="is larger than"):
            load_config(link)

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / "functions.toml"
        path.write_bytes(b"a = '\xff'")
        assert error(path) == ": is not UTF-8 text (byte 5)"

    def test_a_byte_order_mark_is_no_key(self, tmp_path: Path) -> None:
        path = tmp_path / "functions.toml"
        path.write_bytes(b"\xef\xbb\xbf[functions.f]\ncommand=['x']\n")
        assert load_config(path).function().name == "f"

    def test_a_missing_file_and_a_folder(self, tmp_path: Path) -> None:
        assert error(tmp_path / "none.toml") == ": cannot be read: No such file or directory"
        assert error(tmp_path) == ": cannot be read: Is a directory"

    def test_another_kind_of_file(self, tmp_path: Path) -> None:
        assert "a configuration is a .toml file" in error(yaml(tmp_path, "x", "functions.ini"))


class TestFind:
    def test_the_order(self, tmp_path: Path) -> None:
        assert find_config(tmp_path) is None
        for name in ("func.yml", "func.yaml", "functions.toml"):
            (tmp_path / name).touch()
            assert find_config(tmp_path) == tmp_path / name

    def test_a_folder_of_that_name_is_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "functions.toml").mkdir()
        assert find_config(tmp_path) is None


class TestFunction:
    def config(self, *names: str) -> Config:
        functions = {name: FunctionSpec(name=name, app="a", command=("x",)) for name in names}
        return Config(path=Path("functions.toml"), functions=functions)

    def test_by_either_name_and_the_only_one_without(self) -> None:
        config = self.config("lines")
        assert config.function("lines") is config.function("a/lines") is config.function()

    def test_several_and_no_name(self) -> None:
        with pytest.raises(ConfigError, match="which function.*one, two"):
            self.config("one", "two").function()

    def test_a_near_miss(self) -> None:
        with pytest.raises(ConfigError, match='no function "lins"; did you mean "lines"'):
            self.config("lines").function("lins")

    def test_a_far_miss(self) -> None:
        with pytest.raises(ConfigError, match='no function "xyz"; it has lines'):
            self.config("lines").function("xyz")
