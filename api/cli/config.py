"""`whatisup config`: every setting with its default, its value and its meaning; secrets masked."""

from __future__ import annotations

import os
import re
from typing import Final

import click

from whatisup.settings import SETTINGS, Setting, Settings

MASK = "********"

_USERINFO: Final = re.compile(r"(?<=://)([^/?#:@]*:).*(?=@)")
_PARAMETER: Final = re.compile(r"(?<=password=)[^&#]*")


@click.command()
def config() -> None:
    """Show every setting, its default and its value."""
    settings = Settings.from_environment(os.environ)
    for setting in SETTINGS:
        default = "(unset)" if setting.default is None else setting.default
        click.echo(f"{setting.name}={_shown(setting, settings)}")
        click.echo(f"    {setting.meaning}; default {default}")


def _shown(setting: Setting, settings: Settings) -> str:
    value = getattr(settings, setting.field)
    if value is None:
        return ""
    if setting.is_secret:
        return MASK
    if setting.field == "database_url":
        return _without_password(value)
    return value.hex() if isinstance(value, bytes) else str(value)


def _without_password(url: str) -> str:
    """Mask the passwords of a PostgreSQL URL: before the host, and among the parameters."""
    return _PARAMETER.sub(MASK, _USERINFO.sub(rf"\1{MASK}", url))
