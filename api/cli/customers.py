"""`whatisup customers`: who keys and instances belong to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import click

from api.cli.opened import OPERATOR, opened_store, require_customer
from api.schemas.times import iso
from whatisup.store import Customer, Mode, RateLimit, Tx
from whatisup.store import customers as rows


@click.group()
def customers() -> None:
    """Create and list customers, and set how much each may ask."""


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
    """List the customers: id, time of creation, name, and limits of their own."""
    with opened_store() as (store, _):
        for row in store.read(rows.list_all):
            own = "".join(f"  {mode}: {_shown(limit)}" for mode, limit in sorted(row.rate_limits.items()))
            click.echo(f"{row.id}  {iso(row.created_at)}  {row.name}{own}")


def _shown(limit: RateLimit) -> str:
    return "no limit" if limit.per_s == 0 else f"{limit.burst} at once, {limit.per_s:g} a second"


@customers.command()
@click.argument("customer_id")
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), default="live", show_default=True)
@click.option("--burst", type=click.IntRange(1, 1_000_000), help="Requests at once.")
@click.option("--per-s", type=click.FloatRange(0, 100_000), help="Requests a second after that; 0 = no limit.")
@click.option("--default", "as_settings", is_flag=True, help="As the settings say, for every customer.")
def limits(customer_id: str, mode: str, burst: int | None, per_s: float | None, as_settings: bool) -> None:
    """Show how many API requests the customer CUSTOMER_ID may make, or change it; a running server follows at once."""
    wish = None if burst is None or per_s is None else RateLimit(burst, per_s)
    if (burst is None) != (per_s is None) or (as_settings and wish is not None):
        raise click.UsageError("give --burst and --per-s together, or --default")
    with opened_store() as (store, settings):
        require_customer(store, customer_id)
        if as_settings or wish is not None:
            store.call(partial(_limit, customer_id, {Mode(mode): wish}))
        row = store.read(rows.get, customer_id)
    ours = {
        Mode.LIVE: RateLimit(settings.rate_limit_burst, settings.rate_limit_per_s),
        Mode.TEST: RateLimit(settings.rate_limit_burst_test, settings.rate_limit_per_s_test),
    }
    for one in Mode:
        own = None if row is None else row.rate_limits.get(one)
        click.echo(f"{one}: {_shown(own or ours[one])}{' (as the settings say)' if own is None else ''}")


def _limit(customer_id: str, wish: Mapping[Mode, RateLimit | None], tx: Tx) -> None:
    rows.patch(tx, customer_id, origin=OPERATOR, rate_limits=wish)
