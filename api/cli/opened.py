"""The store for commands that look at it or write to it beside a running server.

Rule: no lock of the server's is taken; every write is a transaction like any other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from whatisup.settings import Settings
from whatisup.store import Origin, Store, customers, load_secrets
from whatisup.store.location import SqliteFile, locate

OPERATOR = Origin("operator")


@contextmanager
def opened_store(*, may_create: bool = False) -> Iterator[tuple[Store, Settings]]:
    """Open the store that the environment names; a SQLite file that is not there is made only if `may_create`.

    Raises:
        click.UsageError: there is no such file.
        WhatIsUpError: a setting is wrong, or the store or its keys stand in the way.
    """
    settings = Settings.from_environment(os.environ)
    location = locate(settings.database_url)
    if not may_create and isinstance(location, SqliteFile) and not location.path.exists():
        raise click.UsageError(
            f"there is no store at {location.name}; call from the folder of `whatisup serve` or set DATABASE_URL"
        )
    secrets = load_secrets(
        settings.database_url, settings.secrets_key, settings.secrets_key_previous, settings.api_key_pepper
    )
    for notice in secrets.notices:
        click.echo(f"note: {notice}", err=True)
    with Store.open(settings.database_url, secrets, readers=1) as store:
        yield store, settings


def require_customer(store: Store, customer_id: str) -> None:
    """Refuse an id that is no customer's.

    Raises:
        click.UsageError: there is no such customer.
    """
    if store.read(customers.get, customer_id) is None:
        raise click.UsageError(f"no customer {customer_id}; `whatisup customers list` names them")
