"""The top of the command line: finding commands late, those of plugins last, and turning errors into exit statuses."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

from hotfn_core import __version__
from hotfn_core.errors import ConfigError, DriverError, HotfnError, LaunchFailed, PluginError, did_you_mean

from .common import EXIT_INTERRUPTED, EXIT_UNAVAILABLE, EXIT_USAGE, logging_options

if TYPE_CHECKING:
    from hotfn_core.registry import PluginInfo, Registry

_BUILT_IN = {
    "run": "hotfn_core.cli.run:run",
    "call": "hotfn_core.cli.call:call",
    "bench": "hotfn_core.cli.bench.command:bench",
    "plugins": "hotfn_core.cli.plugins:plugins",
    "check": "hotfn_core.cli.check:check",
    "init": "hotfn_core.cli.start.command:init",
    "test": "hotfn_core.cli.trial.command:test",
    "dev": "hotfn_core.cli.dev.command:dev",
    "gc": "hotfn_core.cli.gc:gc",
    "completion": "hotfn_core.cli.completion:completion",
}


def _status(error: HotfnError) -> int:
    if isinstance(error, ConfigError):
        return EXIT_USAGE
    if isinstance(error, DriverError | LaunchFailed | PluginError):
        return EXIT_UNAVAILABLE
    return 1


class HotfnGroup(click.Group):
    """Imports a built-in command when it is asked for, and plugins only for a command that is not built in."""

    _plugged: dict[str, click.Command] | None = None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_BUILT_IN, *sorted(self._plugin_commands())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _BUILT_IN:
            module, _, attribute = _BUILT_IN[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        return self._plugin_commands().get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            hint = did_you_mean(args[0], self.list_commands(ctx)) if args else ""
            raise click.UsageError(error.message.rstrip(".") + hint, ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HotfnError as error:
            click.echo(f"Error: {error.message}", err=True)
            ctx.exit(_status(error))
        except KeyboardInterrupt:  # before a command deals with it in its own way, or it has none
            click.echo("interrupted", err=True)
            ctx.exit(EXIT_INTERRUPTED)

    def _plugin_commands(self) -> dict[str, click.Command]:
        if self._plugged is None:
            from hotfn_core.registry import Registry

            self._plugged = _commands_of(Registry())
        return self._plugged


def _commands_of(registry: Registry) -> dict[str, click.Command]:
    """Collect the commands of all plugins. One that breaks, or takes a name that is taken, is named and left out."""
    commands: dict[str, click.Command] = {}
    for info in registry.plugins:
        if info.problems or "hotfn_register_commands" not in info.hooks:
            continue
        for name, command in _offered(registry, info).items():
            if name in commands or name in _BUILT_IN:
                _warn(info, f'the command "{name}" exists already and is left out')
            else:
                commands[name] = command
    return commands


def _offered(registry: Registry, info: PluginInfo) -> dict[str, click.Command]:
    # A group of its own for each plugin: one that fails half way has added nothing to ours.
    group = click.Group()
    others = [plugin for plugin in registry.pm.get_plugins() if registry.pm.get_name(plugin) != info.name]
    try:
        registry.pm.subset_hook_caller("hotfn_register_commands", remove_plugins=others)(cli=group)
    except (Exception, SystemExit) as error:  # a stranger's hook may raise anything, and some code calls sys.exit()
        _warn(info, f"failed in hotfn_register_commands: {type(error).__name__}: {error}")
        return {}
    return dict(group.commands)


def _warn(info: PluginInfo, text: str) -> None:
    click.echo(f"Warning: {info}: {text}", err=True)


@click.command(cls=HotfnGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="hotfn")
@logging_options
def cli() -> None:
    """Keep functions hot: start on the first call, reuse for the next, stop when idle.

    A function is any program or container image that reads a call on stdin and writes the reply on stdout.

    \b
    Examples:
      hotfn init greet                          a new function, and `hotfn test` in its directory
      hotfn run -- wc -c < README.md            one call: the body is stdin
      hotfn run -c functions.toml lines --each-line --stats < words.txt
      hotfn bench -c functions.toml lines       how fast is it?
      hotfn plugins                             what is installed, and is it well?
      hotfn check -c functions.toml             is the configuration right?
    """  # noqa: D301  # click needs the backspace itself
