"""`whatisup config`: every setting with its default, its value and its meaning; secrets masked."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import click

from whatisup.settings import SETTINGS, Setting, Settings

MASK = "********"


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
    """Mask the password of a PostgreSQL URL."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", f":{MASK}@", 1)
