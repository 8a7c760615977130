"""`whatisup secrets`: the key above all others."""

from __future__ import annotations

import click

from api.cli.opened import opened_store
from whatisup.store import rewrap


@click.group()
def secrets() -> None:
    """Rotate the key that wraps what is stored."""


@secrets.command()
def rotate() -> None:
    """Wrap every data key under SECRETS_KEY; afterwards SECRETS_KEY_PREVIOUS may go.

    Set SECRETS_KEY to the new key and SECRETS_KEY_PREVIOUS to the old one first. A running server must have been
    started with both.
    """
    with opened_store() as (store, _):
        count = rewrap(store)
    click.echo(f"{count} data keys are wrapped under SECRETS_KEY now; SECRETS_KEY_PREVIOUS is no longer needed")
