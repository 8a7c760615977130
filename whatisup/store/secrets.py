"""Where the keys above all others come from: the environment, or a file beside a new SQLite store.

Rule: a key is made only for a store that does not exist yet. Over existing data a missing key is an error, never a
reason to make one, because whatever a fresh key replaced could not be opened again.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Final

from whatisup.errors import SecretsError, SettingsError
from whatisup.store.location import SqliteFile, locate

MIN_LENGTH: Final = 32
"""Characters a secret has at least; `openssl rand -base64 32` makes 44."""

SECRETS_KEY: Final = "SECRETS_KEY"
API_KEY_PEPPER: Final = "API_KEY_PEPPER"
FILE_SUFFIX: Final = ".secrets"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What opens a store: `key` wraps new data keys, `previous` only open old ones, `pepper` hashes API keys.

    `notices` are sentences for the person who started us.
    """

    key: str = field(repr=False)
    pepper: str = field(repr=False)
    previous: tuple[str, ...] = field(default=(), repr=False)
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(SECRETS_KEY, self.key)
        _check(API_KEY_PEPPER, self.pepper)
        for previous in self.previous:
            _check("SECRETS_KEY_PREVIOUS", previous)


def _check(name: str, secret: str) -> None:
    if len(secret) < MIN_LENGTH:
        raise SettingsError(name, f"must have at least {MIN_LENGTH} characters (openssl rand -base64 32 makes one)")


def load_secrets(
    url: str,
    secrets_key: str | None,
    previous: str | None,
    pepper: str | None,
    *,
    entropy: Callable[[int], bytes] = token_bytes,
) -> Secrets:
    """Collect the secrets of the store at `url`; None stands for a variable that is not set.

    For a SQLite store that does not exist yet, what is missing is made and kept in a file of mode 0600 beside it
    (`<database>.secrets`); a later start reads that file. A `SECRETS_KEY` from the environment goes before the file's,
    which then still opens what it wrapped.

    Raises:
        SecretsError: a key is missing and the store exists, or is PostgreSQL; or the file is readable by others.
        SettingsError: a secret is too short, or the URL is no database.
    """
    given = {name: value for name, value in ((SECRETS_KEY, secrets_key), (API_KEY_PEPPER, pepper)) if value}
    location = locate(url)
    if isinstance(location, SqliteFile):
        return _beside_file(location, given, previous, entropy)
    missing = [name for name in (SECRETS_KEY, API_KEY_PEPPER) if name not in given]
    if missing:
        raise SecretsError(f"{' and '.join(missing)} must be set to use PostgreSQL (openssl rand -base64 32 makes one)")
    return Secrets(given[SECRETS_KEY], given[API_KEY_PEPPER], (previous,) if previous else ())


def _beside_file(
    location: SqliteFile, given: Mapping[str, str], previous: str | None, entropy: Callable[[int], bytes]
) -> Secrets:
    path = location.beside(FILE_SUFFIX)
    filed = _read(path)
    notices: tuple[str, ...] = ()
    missing = [name for name in (SECRETS_KEY, API_KEY_PEPPER) if name not in given and name not in filed]
    if missing:
        _require_new(location, path, missing)
        filed = _make(path, missing, filed, entropy)
        notices = (
            f"made {' and '.join(missing)} for a new store, kept in {path} (mode 0600). Keep a copy of that file, but "
            "never in the same place as a backup of the database: whoever has both has the accounts.",
        )
    both = {**filed, **given}
    fallbacks = [previous] if previous else []
    if SECRETS_KEY in filed and filed[SECRETS_KEY] != both[SECRETS_KEY]:
        fallbacks.append(filed[SECRETS_KEY])
        notices += (
            f"SECRETS_KEY is not the one in {path}: what is new is sealed under it, and opens under nothing else. If "
            "that is meant, `whatisup secrets rotate` and take the old one out of the file; if not, unset it now.",
        )
    return Secrets(both[SECRETS_KEY], both[API_KEY_PEPPER], tuple(fallbacks), notices)


def _require_new(location: SqliteFile, path: Path, missing: list[str]) -> None:
    if location.path.exists() and location.path.stat().st_size > 0:
        raise SecretsError(
            f"not set, and not in {path} either: {' and '.join(missing)}; but the store {location.name} exists: "
            "give the key it was made with (a new one could not open it)"
        )


def _read(path: Path) -> dict[str, str]:
    """Read `NAME=value` lines; no file is an empty one."""
    try:
        mode = path.stat().st_mode
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SecretsError(f"cannot read {path}: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SecretsError(f"{path} is open to other users: chmod 600 it, and think of its keys as known")
    pairs = (line.partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, separator, value in pairs if separator}


def _make(path: Path, missing: list[str], filed: Mapping[str, str], entropy: Callable[[int], bytes]) -> dict[str, str]:
    """Write the file whole or not at all; if another process was faster, its file counts."""
    values = {**filed, **{name: base64.b64encode(entropy(32)).decode() for name in missing}}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write("# The keys of the store beside this file. Never back the two up together.\n")
            file.writelines(f"{name}={value}\n" for name, value in values.items())
            file.flush()
            os.fsync(file.fileno())
        if filed:
            draft.replace(path)
        else:
            _link(draft, path)
        _sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)
    return _read(path)


def _link(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        return


def _sync(folder: Path) -> None:
    """Make a new name in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
