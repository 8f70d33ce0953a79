"""The images of the tests, made of what the machine has; both engines get the same files.

`PYTHON` is Debian's python3 with busybox, for guests that do as they are told; `ECHO` is one static program and nothing
else. Both are imported from a tar. `VOLUME` and `ENTRYPOINT` are built with a Dockerfile. `NODE` is large and not among
`ALL`: a test that wants it asks for it.
"""

from __future__ import annotations

import io
import os
import re
import runpy
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine import Engine

PYTHON = "hotfn-test/python"
ECHO = "hotfn-test/echo"
NODE = "hotfn-test/node"
VOLUME = "hotfn-test/volume"
ENTRYPOINT = "hotfn-test/entrypoint"
ALL = (PYTHON, ECHO, VOLUME, ENTRYPOINT)

INTERPRETER = Path("/usr/bin/python3")  # Debian's, whatever else is installed
BUSYBOX = Path("/bin/busybox")
SIZE_LIMIT = {PYTHON: 60 << 20, ECHO: 2 << 20, NODE: 200 << 20}  # bytes of an archive: more and something slipped in
_GUESTS = Path(__file__).resolve().parents[3] / "hotfn_core" / "testing" / "guests" / "__init__.py"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Parts of the standard library that no function here needs, and that are most of it.
_LEFT_OUT = re.compile(
    r"(test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|pydoc_data|distutils|sqlite3|curses|dbm|venv"
    r"|config-.*|sitecustomize\.py|_(tkinter|dbm|gdbm|sqlite3|curses|curses_panel)\..*|readline\..*|turtle\.py)"
)
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nfn:x:1000:1000:fn:/home/fn:/bin/sh\n",
    "etc/group": "root:x:0:\nfn:x:1000:\n",
}
_FOLDERS = {"tmp": 0o1777, "proc": 0o755, "sys": 0o755, "dev": 0o755, "root": 0o700, "data": 0o777, "home/fn": 0o755}
_CHANGES = {
    PYTHON: [f"ENV PATH={_PATH}", 'CMD ["python3"]'],
    ECHO: ['ENTRYPOINT ["/echo"]'],
    NODE: [f"ENV PATH={_PATH}", 'CMD ["node"]'],
}
_DOCKERFILES = {
    VOLUME: "FROM {python}\nVOLUME /data\n",
    ENTRYPOINT: "FROM {python}\n"
    'ENTRYPOINT ["python3", "-c", "import json, sys; print(json.dumps(sys.argv[1:]))"]\n'
    'CMD ["one", "two words"]\nENV FROM_IMAGE=yes\nUSER fn\nWORKDIR /home/fn\nLABEL from=image\n',
}

Entry = tuple[
    str, Path | str | bytes | int
]  # a path in the image with a file, a link's target, a text, or a folder's mode


def provide(engine: Engine, archives: Path, names: Iterable[str] = ALL) -> None:
    """Give an engine these images. The tars are made in `archives` when they are not there; they may be shared."""
    for name in names:
        if engine.has_image(name):
            continue
        if name in _CHANGES:
            engine.import_image(archive(name, archives), name, _CHANGES[name])
        else:
            _build(engine, name, archives)


def archive(name: str, folder: Path) -> Path:
    """Return the tar with the root of an image, made once for each folder; the same files give the same bytes."""
    path = folder / f"{name.rpartition('/')[2]}.tar"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        _write(draft, _MAKERS[name](folder))
        assert draft.stat().st_size <= SIZE_LIMIT[name], f"{name} has {draft.stat().st_size >> 20} MB"
        draft.replace(path)
    return path


def _build(engine: Engine, name: str, archives: Path) -> None:
    provide(engine, archives, [PYTHON])
    context = engine.directory / "context" / name
    context.mkdir(parents=True, exist_ok=True)
    (context / "Dockerfile").write_text(_DOCKERFILES[name].format(python=engine.image_python))
    engine.build_image(context, name)


def _echo(folder: Path) -> list[Entry]:
    """The static guest, compiled with the builder that the core ships, without the compiler's random names in it."""
    program = runpy.run_path(os.fspath(_GUESTS))["build_echo"](folder, static=True)
    subprocess.run(["strip", program], check=True)
    os.utime(program, (0, 0))
    return [("echo", Path(program))]


def _python(folder: Path) -> list[Entry]:
    """Debian's interpreter with its library, its shared objects, and busybox for all the rest."""
    real = INTERPRETER.resolve()
    library = Path("/usr/lib") / real.name
    standard = list(_standard(library))
    objects = [real, *(path for path in standard if path.suffix == ".so")]
    entries: list[Entry] = [(f"usr/bin/{real.name}", real), ("usr/bin/python3", real.name), ("bin/busybox", BUSYBOX)]
    entries += [(os.fspath(path)[1:], path) for path in (*standard, *{*_shared(objects), *_parts_of_libc(real)})]
    entries += [(f"bin/{applet}", "busybox") for applet in _applets()]
    entries += [(path, text.encode()) for path, text in _FILES.items()]
    return entries + list(_FOLDERS.items())


def _node(folder: Path) -> list[Entry]:
    """Node with its shared objects, and what Debian's reads of its own library from files when it starts."""
    found = shutil.which("node")
    assert found, "node is not installed"
    real = Path(found).resolve()
    objects = _shared([real])
    scripts = {
        path for one in (real, *objects) for path in re.findall(rb"/usr/share/nodejs/[\w./-]+\.js", one.read_bytes())
    }
    files = [*objects, *(path for path in map(Path, sorted(map(os.fsdecode, scripts))) if path.is_file())]
    return [("usr/bin/node", real), *((os.fspath(path)[1:], path) for path in files), *_FOLDERS.items()]


_MAKERS: dict[str, Callable[[Path], list[Entry]]] = {PYTHON: _python, ECHO: _echo, NODE: _node}


def _standard(library: Path) -> Iterator[Path]:
    """Yield the files of the standard library; those compiled ahead too, or each start would compile them anew."""
    for folder, below, files in os.walk(library):
        below[:] = sorted(name for name in below if not _LEFT_OUT.fullmatch(name))
        yield from (Path(folder, name) for name in sorted(files) if not _LEFT_OUT.fullmatch(name))


def _parts_of_libc(program: Path) -> list[Path]:
    """Return what is in libc itself by now, and what modules that were compiled elsewhere still ask for."""
    (libc,) = (path for path in _shared([program]) if path.name == "libc.so.6")
    return [libc.with_name(name) for name in ("libpthread.so.0", "libdl.so.2", "librt.so.1")]


def _shared(programs: list[Path]) -> list[Path]:
    """Return the shared objects that programs load, under the names by which they are loaded."""
    listed = subprocess.run(["/usr/bin/ldd", *programs], capture_output=True, text=True, check=True).stdout
    return sorted({Path(path) for path in re.findall(r"(/\S+) \(0x", listed)})


def _applets() -> list[str]:
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout
    return sorted(set(listed.split()) - {"busybox"})


def _write(path: Path, entries: list[Entry]) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in sorted(entries, key=lambda entry: entry[0]):
            _add(tar, name, what)


def _add(tar: tarfile.TarFile, name: str, what: Path | str | bytes | int) -> None:
    """Add a file, a link, a text or a folder; all of root, so that the host's users make no difference."""
    member = tarfile.TarInfo(name)
    data: bytes = b""
    if isinstance(what, int):
        member.type, member.mode = tarfile.DIRTYPE, what
    elif isinstance(what, str):
        member.type, member.linkname = tarfile.SYMTYPE, what
    elif isinstance(what, bytes):
        data, member.mode = what, 0o644
    else:
        data, status = what.read_bytes(), what.stat()
        # A compiled module is valid for the very second of its source.
        member.mode, member.mtime = status.st_mode & 0o777, int(status.st_mtime)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
