"""`whatisup migrate`: the schema, brought up to date (every other command does so too)."""

from __future__ import annotations

import click

from api.cli.opened import opened_store
from whatisup.store.location import locate


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date."""
    with opened_store(may_create=True) as (_, settings):
        click.echo(f"{locate(settings.database_url).name} is up to date")
