"""What holds for every test: how hard hypothesis tries, what may run side by side, certificates for TLS."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

# A machine that is shared pauses a test at any moment, so no deadline is measured on an example: a test that hangs is
# ended by pytest's own timeout. Each failure prints the blob that replays it.
settings.register_profile("dev", deadline=None, max_examples=50, print_blob=True)
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=200,
    print_blob=True,
    phases=set(Phase) - {Phase.explain},  # it traces every line, which a long history does not finish
)
settings.register_profile(
    "slow",
    deadline=None,
    max_examples=5_000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],  # it is meant to be
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Say what may run side by side, where pytest-xdist runs the tests.

    The tests of engines mostly wait for an engine, and each worker has engines of its own; those of the core need
    nothing but the processor: these go file by file, the search for planted bugs one by one, and so do functions of
    real kits, which mostly start and wait. All the others go to one worker, one after the other: some look at every
    process of the machine.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            folder = file.rpartition("/")[0].rpartition("/")[2]
            if file.endswith("/test_mutants.py") or folder == "real":
                return nodeid
            return file if folder in ("core", "engines", "sim") else "others"

    return Scheduler(config, log)


@pytest.fixture(scope="session")
def need() -> Callable[[str], None]:
    """Skip a test that needs a program which is not installed. In CI only Rust may be missing."""

    def check(program: str) -> None:
        if shutil.which(program):
            return
        if os.environ.get("CI") and program != "rustc":
            pytest.fail(f"{program} is not installed", pytrace=False)
        pytest.skip(f"{program} is not installed")

    return check


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with what TLS needs, made by the command openssl.

    `ca.pem` has signed `server.pem` (with `server-key.pem`, for localhost and 127.0.0.1) and, for a client, `cert.pem`
    (with `key.pem`); `other-ca.pem` has signed none of them.
    """
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "openssl.conf").write_text(OPENSSL)
    _certify(folder, "authority", "ca.pem", "ca-key.pem")
    _certify(folder, "authority", "other-ca.pem", "other-ca-key.pem")
    _certify(folder, "server", "server.pem", "server-key.pem", signed=True)
    _certify(folder, "client", "cert.pem", "key.pem", signed=True)
    return folder


def _certify(folder: Path, kind: str, cert: str, key: str, *, signed: bool = False) -> None:
    argv = ["openssl", "req", "-x509", "-config", "openssl.conf", "-extensions", kind, "-subj", f"/CN={cert}", "-noenc"]
    argv += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2", "-out", cert, "-keyout", key]
    if signed:
        argv += ["-CA", "ca.pem", "-CAkey", "ca-key.pem"]
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)


OPENSSL = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[client]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
