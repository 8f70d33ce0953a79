"""`hotfn completion`: the script that makes a shell complete commands, options and function names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash:  eval "$(hotfn completion bash)"          in ~/.bashrc
    zsh:   eval "$(hotfn completion zsh)"           in ~/.zshrc
    fish:  hotfn completion fish > ~/.config/fish/completions/hotfn.fish
    """  # noqa: D301  # click needs the backspace itself
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(ctx.find_root().command, {}, "hotfn", "_HOTFN_COMPLETE").source())
