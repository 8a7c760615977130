"""The `whatisup` command: one file per group of commands, imported only when it is called.

Rule: a command parses words and prints answers; what it does is done by the packages below.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final, cast

import click

from whatisup.errors import SettingsError, WhatIsUpError

# Command -> (module, attribute, the line shown by --help). The module is imported when the command runs.
COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "serve": ("api.cli.serve", "serve", "Run the gateway: API, instances and the sandbox child."),
    "sandbox": ("api.cli.sandbox", "sandbox", "Run a sandbox WhatsApp alone."),
    "demo": ("api.cli.demo", "demo", "The guided tour: one number's life in about two minutes."),
    "config": ("api.cli.config", "config", "Show every setting, its default and its value."),
    "doctor": ("api.cli.doctor", "doctor", "Check all that a gateway needs, and say what to do."),
    "migrate": ("api.cli.migrate", "migrate", "Bring the database's schema up to date."),
    "customers": ("api.cli.customers", "customers", "Create and list customers."),
    "keys": ("api.cli.keys", "keys", "Create, list and revoke API keys."),
    "secrets": ("api.cli.secrets", "secrets", "Rotate the key that wraps what is stored."),
}

WRONG_SETTING: Final = 2

UNWANTED: Final = ("anyio", "rich")
"""What libraries import only because it is installed (by developers' tools): megabytes that nothing here uses."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and give one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        with _as_if_not_installed(UNWANTED):
            command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@contextmanager
def _as_if_not_installed(names: Iterable[str]) -> Iterator[None]:
    """Let imports of these packages fail for a while, but for those that somebody has imported already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden, cast("ModuleType", None)))  # Python's own way to say so
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="whatisup")
def cli() -> None:
    """WhatIsUp, a self-hosted WhatsApp gateway."""


def main() -> None:
    """Run the command line; errors with a known cause end in one sentence and exit code 1 (2 for a wrong setting)."""
    try:
        cli.main(prog_name="whatisup", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        known = next((leaf for leaf in _leaves(error) if isinstance(leaf, WhatIsUpError)), None)
        if known is None:
            raise
        is_setting = isinstance(known, SettingsError)
        click.echo(f"whatisup: {'wrong setting ' if is_setting else ''}{known}", err=True)
        sys.exit(WRONG_SETTING if is_setting else 1)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Give the errors inside a group; spelled out here so that `whatisup config` need not import Trio."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
