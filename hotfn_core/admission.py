"""What can be told to be wrong with a function before anything is started: by a manager, and by `hotfn check`."""

from __future__ import annotations

from .driver import Driver, SharingDriver
from .errors import ConfigError, HotfnError, PluginError, said
from .model import FunctionSpec
from .protocol import IOProtocol

LIMITS = ("memory", "cpus")


def check_function(spec: FunctionSpec, driver: Driver, protocol: IOProtocol) -> None:
    """Raise ConfigError for a function that this driver and this protocol cannot serve, PluginError when the driver
    fails at telling."""
    if spec.min_instances and not protocol.hot:
        raise ConfigError(
            f'{spec.full_name}: min_instances keeps copies hot, and the IO protocol "{spec.format}" is cold',
            field="min_instances",
        )
    _check_limits(spec, driver)
    _check_meeting(spec, driver, protocol)
    try:
        driver.validate(spec)
    except HotfnError:
        raise
    except Exception as error:  # a stranger's driver that fails in its own way
        text = f'{spec.full_name}: the driver "{spec.driver}" failed in validate(): {said(error)}'
        raise PluginError(text) from error


def _check_meeting(spec: FunctionSpec, driver: Driver, protocol: IOProtocol) -> None:
    """Refuse copies that would listen where nobody can reach them."""
    if protocol.listening is None:
        return
    if not isinstance(driver, SharingDriver):
        raise ConfigError(
            f'{spec.full_name}: copies that speak "{spec.format}" listen on a socket, and the driver "{driver.name}" '
            f"cannot share a directory with them; take another driver or another format",
            field="format",
        )
    if not protocol.hot:
        raise PluginError(f'the IO protocol "{spec.format}" is wrong: copies that listen must be hot')


def _check_limits(spec: FunctionSpec, driver: Driver) -> None:
    """Refuse what the driver would not do: enforce a limit, or freeze. Not when the spec says best_effort."""
    for limit in LIMITS:
        if getattr(spec, limit) is not None and limit not in driver.enforces and not spec.best_effort:
            raise ConfigError(
                f'{spec.full_name}: the driver "{driver.name}" does not enforce {limit}; leave {limit} out, take '
                f"another driver, or say best_effort",
                field=limit,
            )
    if spec.freeze_after is not None and not driver.freezes and not spec.best_effort:
        raise ConfigError(
            f'{spec.full_name}: the driver "{driver.name}" cannot freeze copies; leave freeze_after out, take another '
            f"driver, or say best_effort",
            field="freeze_after",
        )
