"""`whatisup doctor`: what stands between you and a working gateway, one line a check.

Rule: it makes nothing that is not there; a store that is opened is brought up to date, as by every command.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

import click

from api.schemas.times import iso
from whatisup.errors import WhatIsUpError
from whatisup.settings import Settings
from whatisup.store import Store, customers, database_lock, instances, load_secrets
from whatisup.store.location import SqliteFile, locate

# No release is older than this: a clock before it is wrong, and certificates would be refused for their dates.
EARLIEST_MS: Final = 1_767_225_600_000

Finding = tuple[bool, str]


@click.command()
def doctor() -> None:
    """Check settings, database, secrets and clock."""
    is_well = True
    for is_ok, text in _findings():
        is_well = is_well and is_ok
        click.echo(f"{'ok   ' if is_ok else 'WRONG'}  {text}")
    sys.exit(0 if is_well else 1)


def _findings() -> Iterator[Finding]:
    yield _clock()
    try:
        settings = Settings.from_environment(os.environ)
    except WhatIsUpError as error:
        yield False, f"settings: {error}"
        return
    yield True, "settings: every value is of its kind"
    location = locate(settings.database_url)
    if isinstance(location, SqliteFile) and not location.path.exists():
        yield True, f"database: {location.name} does not exist yet; the first start makes it, with its keys"
        return
    yield from _store(settings, location.name)


def _store(settings: Settings, name: str) -> Iterator[Finding]:
    try:
        secrets = load_secrets(
            settings.database_url, settings.secrets_key, settings.secrets_key_previous, settings.api_key_pepper
        )
        with Store.open(settings.database_url, secrets, readers=1) as store:
            yield True, f"database: {name} opens, its schema is current, its canary too"
            yield True, f"customers: {len(store.read(customers.list_all))}"
            counts = store.read(instances.counts_by_status)
            shown = ", ".join(f"{count} {mode} {state}" for (mode, state), count in sorted(counts.items()))
            yield True, f"instances: {shown or 'none'}"
            yield _owner(settings)
    except WhatIsUpError as error:
        yield False, f"database: {error}"


def _owner(settings: Settings) -> Finding:
    lock = database_lock(settings.database_url)
    if lock.try_acquire():
        lock.release()
        return True, "server: none is running on this database"
    return True, f"server: {lock.holder() or 'another process'} runs on this database"


def _clock(now: Callable[[], float] = time.time) -> Finding:
    at = int(now() * 1000)
    return at >= EARLIEST_MS, f"clock: {iso(at)}" + ("" if at >= EARLIEST_MS else " lies in the past; set it")
