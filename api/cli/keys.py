"""`whatisup keys`: API keys of a customer.

Rule: a secret is printed on a terminal, or written to a 0600 file whose path is printed; nothing else ever shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import click

from api.bootstrap import hand_out, key_file
from api.cli.opened import OPERATOR, opened_store, require_customer
from api.schemas.times import iso, iso_or_none
from whatisup.store import ApiKey, KeyScope, Mode, Store, Tx, instances
from whatisup.store import keys as rows

DAY_MS = 24 * 3600 * 1000

_customer = click.option("--customer", "customer_id", required=True, help="The customer's id (cust_…).")


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command()
@_customer
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), default="test", show_default=True)
@click.option("--name", default="key", show_default=True, help="A label for people.")
@click.option("--instance", "instance_id", help="Bind the key to one instance (inst_…).")
@click.option("--expires-in-days", type=click.IntRange(1, 3650), help="Let the key expire.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in KeyScope]),
    help="What the key may do, once for each; without any it may do everything.",
)
def create(
    customer_id: str,
    mode: str,
    name: str,
    instance_id: str | None,
    expires_in_days: int | None,
    scopes: tuple[str, ...],
) -> None:
    """Create a key; its secret is shown this once."""
    with opened_store() as (store, settings):
        require_customer(store, customer_id)
        if instance_id is not None:
            _require_instance(store, instance_id, customer_id, Mode(mode))
        lifetime_ms = None if expires_in_days is None else expires_in_days * DAY_MS
        how = {"name": name, "instance_id": instance_id, "scopes": tuple(dict.fromkeys(scopes))}
        key, secret = store.call(partial(_create, customer_id, Mode(mode), lifetime_ms, how))
        path = hand_out({f"{mode} {key.id}": secret}, key_file(settings.database_url))
    if path is not None:
        click.echo(f"{key.id}: the secret is in {path} (mode 0600)")


def _require_instance(store: Store, instance_id: str, customer_id: str, mode: Mode) -> None:
    if store.read(instances.get, instance_id, customer_id, mode) is None:
        raise click.UsageError(f"the customer has no {mode} instance {instance_id}")


def _create(
    customer_id: str, mode: Mode, lifetime_ms: int | None, how: Mapping[str, Any], tx: Tx
) -> tuple[ApiKey, str]:
    expires_at = None if lifetime_ms is None else tx.now + lifetime_ms
    return rows.create(
        tx, customer_id=customer_id, mode=mode, origin=OPERATOR, now=tx.now, expires_at=expires_at, **how
    )


@keys.command("list")
@_customer
@click.option("--all", "with_revoked", is_flag=True, help="Show revoked keys too.")
def list_(customer_id: str, with_revoked: bool) -> None:
    """List a customer's keys, without their secrets."""
    with opened_store() as (store, _):
        require_customer(store, customer_id)
        for row in store.read(partial(rows.list_by_customer, with_revoked=with_revoked), customer_id):
            state = "revoked" if row.revoked_at is not None else f"expires {iso_or_none(row.expires_at) or 'never'}"
            bound = "" if row.instance_id is None else f"  bound to {row.instance_id}"
            may = "" if not row.scopes else f"  may {', '.join(row.scopes)}"
            used = "never used" if row.last_used_at is None else f"used {iso(row.last_used_at)}"
            click.echo(
                f"{row.id}  {row.prefix}…  {row.name}  created {iso(row.created_at)}  {used}  {state}{bound}{may}"
            )


@keys.command()
@_customer
@click.argument("key_id")
def revoke(customer_id: str, key_id: str) -> None:
    """Make the key KEY_ID useless from now on."""
    with opened_store() as (store, _):
        if store.call(partial(_revoke, key_id, customer_id)) is None:
            raise click.UsageError(f"the customer has no key {key_id}; `whatisup keys list` names them")
    click.echo(f"{key_id} is revoked")


def _revoke(key_id: str, customer_id: str, tx: Tx) -> ApiKey | None:
    return rows.revoke(tx, key_id, customer_id=customer_id, origin=OPERATOR, now=tx.now)
