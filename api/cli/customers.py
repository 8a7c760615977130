"""`whatisup customers`: who keys and instances belong to."""

from __future__ import annotations

from functools import partial

import click

from api.cli.opened import OPERATOR, opened_store
from api.schemas.times import iso
from whatisup.store import Customer, Tx
from whatisup.store import customers as rows


@click.group()
def customers() -> None:
    """Create and list customers."""


@customers.command()
@click.argument("name")
def create(name: str) -> None:
    """Create a customer called NAME and print its id."""
    if not 1 <= len(name.strip()) <= 200 or not name.isprintable():
        raise click.BadParameter("1 to 200 printable characters", param_hint="NAME")
    with opened_store(may_create=True) as (store, _):
        click.echo(store.call(partial(_create, name)).id)


def _create(name: str, tx: Tx) -> Customer:
    return rows.create(tx, name=name, origin=OPERATOR, now=tx.now)


@customers.command("list")
def list_() -> None:
    """List the customers: id, time of creation, name."""
    with opened_store() as (store, _):
        for row in store.read(rows.list_all):
            click.echo(f"{row.id}  {iso(row.created_at)}  {row.name}")
