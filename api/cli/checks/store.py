"""The store: its keys, its schema, what it holds, and the clock behind it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from api.cli.checks.finding import Finding, note, ok, wrong
from api.schemas.times import iso
from whatisup.errors import SchemaTooNew, SecretsError, StoreError, StoreUnavailable
from whatisup.settings import Settings
from whatisup.store import checkup, load_secrets
from whatisup.store.checkup import Checkup, Contents
from whatisup.store.location import Location, SqliteFile, locate
from whatisup.store.secrets import FILE_SUFFIX, Secrets

SKEW_NOTED_MS: Final = 5_000
SKEW_MS: Final = 60_000
OLD_DELIVERY_MS: Final = 3 * 3600 * 1000
_TWO_KEYS: Final = (
    "unset SECRETS_KEY, if that is not meant; if it is, `whatisup secrets rotate`, and only then take the old key out"
    " of the `.secrets` file"
)
_SET_TIME: Final = "let a time service (chrony, systemd-timesyncd) keep the clocks of all machines"


def examine(settings: Settings, now: Callable[[], float]) -> Iterator[Finding]:
    """Look at the store that the settings name."""
    location = locate(settings.database_url)
    if isinstance(location, SqliteFile) and not location.path.exists():
        yield from _not_there(location)
        return
    yield from _files(location)
    try:
        secrets = load_secrets(
            settings.database_url, settings.secrets_key, settings.secrets_key_previous, settings.api_key_pepper
        )
    except SecretsError as error:
        yield _no_keys(location, error)
        return
    for text in secrets.notices:
        yield note("secrets", text.split(". ")[0], _TWO_KEYS)
    begun_ms = round(now() * 1000)
    try:
        found = checkup.examine(settings.database_url, secrets)
    except StoreError as error:
        yield _not_to_be_opened(location, error)
        return
    yield from _opened(settings, location, secrets, found)
    yield from _skew(found, begun_ms, round(now() * 1000))


def _not_there(location: SqliteFile) -> Iterator[Finding]:
    folder = next(path for path in (location.path.parent, *location.path.absolute().parents) if path.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        remedy = "make the folder writable for this user, or name another file in DATABASE_URL"
        yield wrong("database", f"{location.name} does not exist, and {folder} cannot be written", remedy)
    else:
        yield ok("database", f"{location.name} does not exist yet; the first start makes it, with its keys")


def _files(location: Location) -> Iterator[Finding]:
    """Who may read what lies beside a SQLite database."""
    if not isinstance(location, SqliteFile):
        return
    for path in (location.path, location.beside("-wal")):
        if _is_open_to_others(path):
            yield note("database", f"other users may read {path}", f"chmod 600 {path}")
    keys = location.beside(".keys")
    if keys.exists():
        yield note("keys", f"API keys lie in {keys}", "hand them out, then delete the file")


def _is_open_to_others(path: Path) -> bool:
    return path.exists() and bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _no_keys(location: Location, error: SecretsError) -> Finding:
    if isinstance(location, SqliteFile) and _is_open_to_others(path := location.beside(FILE_SUFFIX)):
        remedy = f"chmod 600 {path}; if a stranger may have read it, make a new key and `whatisup secrets rotate`"
        return wrong("secrets", f"{path} is open to other users", remedy)
    remedy = "set SECRETS_KEY and API_KEY_PEPPER to what the store was made with, or bring back its `.secrets` file"
    return wrong("secrets", str(error), remedy)


def _not_to_be_opened(location: Location, error: StoreError) -> Finding:
    if isinstance(error, SecretsError):
        remedy = "set SECRETS_KEY (or SECRETS_KEY_PREVIOUS) and API_KEY_PEPPER to what the store was made with"
        return wrong("secrets", str(error), f"{remedy}; another key cannot open it")
    if isinstance(error, SchemaTooNew):
        return wrong("migrations", str(error), "run the newer release; this one changed nothing")
    if isinstance(error, StoreUnavailable) and isinstance(location, SqliteFile):
        remedy = "see that this user may read and write the file and its folder, and that the disk is well"
        return wrong("database", f"{location.name}: {error}", remedy)
    if isinstance(error, StoreUnavailable):
        remedy = "see that it runs and is reached from here, and that DATABASE_URL has the right user and password"
        return wrong("database", f"{location.name}: {error}", remedy)
    return wrong("database", f"{location.name}: {error}", "name a database of the gateway's own in DATABASE_URL")


def _opened(settings: Settings, location: Location, secrets: Secrets, found: Checkup) -> Iterator[Finding]:
    if found.revision is None:
        yield ok("database", f"{location.name} is empty; the first start fills it")
        return
    yield ok("database", f"{location.name} can be read")
    yield from _keys(settings, location, found, is_doubtful=bool(secrets.notices))
    if found.contents is None:
        remedy = "back the database up; then `whatisup migrate`, or the next start, brings it up to date"
        text = f"the schema is of revision {found.revision}, this release's is {found.head}; nothing was upgraded here"
        yield note("migrations", text, remedy)
        return
    yield ok("migrations", f"the schema is current ({found.head})")
    yield from _contents(found.contents, found.written_at)


def _keys(settings: Settings, location: Location, found: Checkup, *, is_doubtful: bool) -> Iterator[Finding]:
    source = "the environment"
    if settings.secrets_key is None and isinstance(location, SqliteFile):
        source = f"{location.beside(FILE_SUFFIX)}, which nobody else may read"
    yield ok("secrets", f"the key comes from {source}, and opens the store's canary")
    if found.old_keys and not is_doubtful:  # else what to do about them was said above, and depends
        text = f"{found.old_keys} data keys are still wrapped under an older key"
        yield note("secrets", text, "run `whatisup secrets rotate`; until then keep the older key")
    elif settings.secrets_key_previous is not None:
        yield note("secrets", "nothing needs SECRETS_KEY_PREVIOUS any more", "unset it, and restart")


def _contents(contents: Contents, written_at: int | None) -> Iterator[Finding]:
    yield ok("customers", str(contents.customers))
    shown = ", ".join(f"{count} {mode} {state}" for (mode, state), count in sorted(contents.instances.items()))
    yield ok("instances", shown or "none")
    queue = contents.queue
    yield ok("deliveries", f"{queue.pending} pending, {queue.retrying} retrying, {queue.held} held")
    if queue.oldest_at is not None and written_at is not None and written_at - queue.oldest_at > OLD_DELIVERY_MS:
        remedy = "GET /v1/webhook-deliveries?status=retrying shows what the receiver answers"
        yield note("deliveries", f"the oldest has waited since {iso(queue.oldest_at)}", remedy)
    if contents.disabled_endpoints:
        text = f"{contents.disabled_endpoints} endpoints were disabled because nothing arrived there"
        yield note("deliveries", text, "have their customers enable them again (PATCH), and replay what was missed")


def _skew(found: Checkup, begun_ms: int, ended_ms: int) -> Iterator[Finding]:
    """Compare our clock with the server's, or with the last that wrote here."""
    if found.clock_at is not None:
        ahead_ms = max(begun_ms - found.clock_at, found.clock_at - ended_ms, 0)
        text = f"it and the database server's are {ahead_ms / 1000:.1f} s apart"
        if ahead_ms > SKEW_MS:
            yield wrong("clock", text, _SET_TIME)
        elif ahead_ms > SKEW_NOTED_MS:
            yield note("clock", text, _SET_TIME)
        else:
            yield ok("clock", text)
    if found.written_at is not None and found.written_at - ended_ms > SKEW_MS:
        text = f"the store was last written at {iso(found.written_at)}, which is still to come"
        yield wrong("clock", text, f"set the clock right; {_SET_TIME}")
