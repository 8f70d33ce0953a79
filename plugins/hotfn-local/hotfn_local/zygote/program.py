"""What the copies of a zygote run, and what of it can be done once for all of them.

Half of the text that a zygote runs; see `serve.py`.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, ModuleType
    from typing import Any


class Program:
    """What the copies run. `kind`: script (a file), path (a directory or a zip file), module (-m), text (-c)."""

    def __init__(self, kind: str, target: str) -> None:
        self.kind = "path" if kind == "script" and _importable(target) else kind
        self.target = target
        self.file = os.path.join(os.getcwd(), target) if kind == "script" else "<string>"
        self.code: CodeType | None = None
        self.watched: dict[str, object] = {}
        self.sigchld: Any = None
        self.main = self._main()
        self._place()

    def _main(self) -> ModuleType:
        main = type(sys)("__main__")
        names = vars(main)
        names["__builtins__"] = sys.modules["builtins"]
        if sys.version_info < (3, 14):
            names["__annotations__"] = {}
        if self.kind == "script":
            from importlib.machinery import SourceFileLoader

            names.update(__file__=self.file, __cached__=None)
            main.__loader__ = SourceFileLoader("__main__", self.file)
        else:
            main.__loader__ = sys.modules["__main__"].__loader__
        return main

    def _place(self) -> None:
        """Stand where the program would: `sys.path`, `sys.argv` and `__main__`."""
        sys.argv = [{"module": "-m", "text": "-c"}.get(self.kind, self.target)]
        sys.modules["__main__"] = self.main
        safe = sys.flags.isolated or getattr(sys.flags, "safe_path", False)
        if not safe:
            sys.path[0] = {"module": os.getcwd(), "text": ""}.get(self.kind, self._directory())
        elif self.kind == "path":
            sys.path.insert(0, self.file)

    def _directory(self) -> str:
        return self.file if self.kind == "path" else os.path.dirname(os.path.realpath(self.file))

    def source(self) -> tuple[str | bytes, str]:
        """Return the program's text and the package it is in."""
        if self.kind == "text":
            return self.target, ""
        if self.kind == "module":
            import runpy

            _, spec, _ = runpy._get_module_details(self.target)  # type: ignore[attr-defined]  # noqa: SLF001
            self.watched[spec.origin] = None
            return spec.loader.get_source(spec.name), spec.parent
        with open(self.file, "rb") as file:
            return file.read(), ""

    def compile(self) -> CodeType:
        """Compile a script or a text."""
        return compile(self.source()[0], self.file, "exec", dont_inherit=True)

    def begin(self) -> None:
        """Import what the program begins with: its import statements up to the first other one.

        These run first in any case, in this order, so nothing is run that would not be, nor in another order. What
        fails is left to the copies, which fail in the same way.
        """
        if self.kind == "path":
            return
        if self.kind == "script":
            self.watched[self.file] = None
        try:
            text, package = self.source()
            tree: Any = compile(text, self.file, "exec", 0x400, dont_inherit=True)  # ast.PyCF_ONLY_AST, without `ast`
            if self.kind != "module":
                self.code = compile(tree, self.file, "exec", dont_inherit=True)
            for statement in _leading(tree):
                _perform(statement, package)
        except BaseException as error:  # SystemExit too: an import may raise anything
            os.write(2, f"{type(error).__name__}: {error} (this import is left to the copies)\n".encode())

    def watch(self) -> None:
        """Remember what the function's own files look like: those that were not installed."""
        library = os.path.dirname(os.__file__) + os.sep
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            if isinstance(path, str) and not path.startswith(library) and "-packages" + os.sep not in path:
                self.watched[path] = None
        for path in self.watched:
            self.watched[path] = _look(path)

    def changed(self) -> bool:
        """Say whether one of these files has changed, so that a new copy would run old code."""
        return any(_look(path) != before for path, before in self.watched.items())

    def run(self) -> None:
        """Be the program. Its exceptions pass, and are shown without a trace of this file."""
        try:
            if self.kind in ("module", "path"):
                import runpy

                module = self.kind == "module"
                run: Any = runpy._run_module_as_main  # type: ignore[attr-defined]  # noqa: SLF001 - what Python itself calls
                run(self.target if module else "__main__", module)
            else:
                exec(self._ready_code(), self.main.__dict__)  # noqa: S102 - this is what it is for
        except BaseException as error:
            _show_only(error.__traceback__)
            raise

    def _ready_code(self) -> CodeType:
        try:
            return self.code or self.compile()
        except OSError as error:
            text = f"{sys.executable}: can't open file {self.file!r}: [Errno {error.errno}] {error.strerror}\n"
            sys.stderr.write(text)
            sys.exit(2)


def _importable(path: str) -> bool:
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def _leading(tree: Any) -> Iterator[Any]:
    """Yield the import statements that a module begins with."""
    for node in tree.body:
        kind = type(node).__name__
        if kind in ("Import", "ImportFrom"):
            yield node
        elif kind != "Expr" or type(node.value).__name__ != "Constant":  # a docstring does nothing
            return


def _perform(node: Any, package: str) -> None:
    names = [alias.name for alias in node.names]
    if type(node).__name__ == "Import":
        for name in names:
            __import__(name)
    else:
        around = {"__name__": "__main__", "__package__": package or None}
        __import__(node.module or "", around, None, names, node.level)


def _look(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _show_only(trace: Any) -> None:
    """Have the exception that passes shown without the part of its trace that is in this file."""
    while trace and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next
    hook = sys.excepthook

    def show(kind: Any, error: BaseException, _: Any) -> None:
        hook(kind, error.with_traceback(trace), trace)

    sys.excepthook = show
