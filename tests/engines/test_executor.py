"""Python calls in containers: an image's own Python, and one file of ours."""

from __future__ import annotations

import os
import platform

import pytest

from hotfn_core import InstanceExited, worker
from hotfn_core.blocking import Manager

from .calling import scripted
from .setup import Engine


def test_calls_run_in_containers(engine: Engine) -> None:
    options = {"mounts": [f"{worker.__file__}:/worker.py"]}
    spec = scripted(engine, name="work", command=("python3", "/worker.py"), driver_options=options, stop_grace=0)
    with Manager() as manager, manager.executor(spec) as pool:
        assert list(pool.map(abs, range(-3, 0))) == [3, 2, 1]
        assert pool.submit(platform.node).result(20) != platform.node()
        assert isinstance(pool.submit(os._exit, 3).exception(20), InstanceExited)
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result(20)
