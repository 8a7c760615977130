"""Where keys come from: given, found beside the store, or made, and never made over existing data."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.store.world import World
from whatisup.errors import SecretsError, SettingsError
from whatisup.store import Secrets, Store, auth, load_secrets, rewrap
from whatisup.store.location import locate

KEY = "a key that was given by a setting!"
PEPPER = "a pepper that was given by setting"


@pytest.fixture
def url(sqlite_path: Path) -> str:
    return f"sqlite:///{sqlite_path}"


def test_new_store_gets_keys_in_a_private_file(url: str, sqlite_path: Path) -> None:
    secrets = load_secrets(url, None, None, None)
    file = sqlite_path.with_name("store.db.secrets")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(secrets.key) >= 32
    assert secrets.key != secrets.pepper
    (notice,) = secrets.notices
    assert str(file) in notice
    assert "backup" in notice
    assert [path.name for path in sqlite_path.parent.iterdir()] == ["store.db.secrets"], "no draft is left"


def test_next_start_finds_the_same_keys_and_says_nothing(url: str) -> None:
    made = load_secrets(url, None, None, None)
    found = load_secrets(url, None, None, None)
    assert (found.key, found.pepper, found.notices) == (made.key, made.pepper, ())


def test_only_what_is_missing_is_made(url: str) -> None:
    secrets = load_secrets(url, KEY, None, None)
    assert secrets.key == KEY
    assert "SECRETS_KEY " not in secrets.notices[0]
    assert load_secrets(url, KEY, None, None).pepper == secrets.pepper


def test_given_keys_make_no_file(url: str, sqlite_path: Path) -> None:
    secrets = load_secrets(url, KEY, None, PEPPER)
    assert secrets == Secrets(KEY, PEPPER)
    assert list(sqlite_path.parent.iterdir()) == []


def test_two_first_starts_agree(url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: load_secrets(url, None, None, None), range(8)))
    assert len({(secrets.key, secrets.pepper) for secrets in found}) == 1


@pytest.mark.parametrize(("key", "pepper"), [(None, None), (KEY, None), (None, PEPPER)])
def test_existing_store_without_its_keys_is_refused(
    url: str, sqlite_path: Path, key: str | None, pepper: str | None
) -> None:
    Store.open(url, Secrets(KEY, PEPPER)).close()
    before = sqlite_path.read_bytes()
    with pytest.raises(SecretsError):
        load_secrets(url, key, None, pepper)
    assert [path.name for path in sqlite_path.parent.iterdir()] == ["store.db"]
    assert sqlite_path.read_bytes() == before


def test_key_beside_that_of_the_file_is_spoken_of(url: str) -> None:
    """One left over in a shell seals new data keys, and without it the store refuses to start from then on."""
    made = load_secrets(url, None, None, None)
    assert load_secrets(url, made.key, None, None).notices == ()
    other = load_secrets(url, KEY, None, None)
    assert (other.key, other.previous) == (KEY, (made.key,))
    (notice,) = other.notices
    assert "SECRETS_KEY is not the one in" in notice
    assert KEY not in notice
    assert made.key not in notice


@pytest.mark.parametrize(("key", "pepper"), [(None, PEPPER), (KEY, None)])
def test_postgresql_makes_no_keys(key: str | None, pepper: str | None) -> None:
    with pytest.raises(SecretsError, match="SECRETS_KEY" if key is None else "API_KEY_PEPPER"):
        load_secrets("postgresql://t@localhost/x", key, None, pepper)


def test_postgresql_takes_what_is_given() -> None:
    assert load_secrets("postgres://t@localhost/x", KEY, "p" * 32, PEPPER) == Secrets(KEY, PEPPER, ("p" * 32,))


def test_file_that_others_can_read_is_refused(url: str, sqlite_path: Path) -> None:
    load_secrets(url, None, None, None)
    sqlite_path.with_name("store.db.secrets").chmod(0o640)
    with pytest.raises(SecretsError, match="chmod 600"):
        load_secrets(url, None, None, None)


def test_short_secrets_are_refused_by_name(url: str) -> None:
    with pytest.raises(SettingsError, match="API_KEY_PEPPER"):
        load_secrets(url, KEY, None, "short")
    with pytest.raises(SettingsError, match="SECRETS_KEY_PREVIOUS"):
        load_secrets(url, KEY, "short", PEPPER)


def test_key_from_the_environment_retires_the_files(url: str, sqlite_path: Path) -> None:
    """Moving the key out of the file: the file still opens what it wrapped, until everything is rewrapped."""
    with Store.open(url, load_secrets(url, None, None, None)) as store:
        world = World(store)
        world.pair(a=b"1")
    secrets = load_secrets(url, KEY, None, None)
    with Store.open(url, secrets) as store:
        rewrap(store)
    file = sqlite_path.with_name("store.db.secrets")
    file.write_text(f"API_KEY_PEPPER={secrets.pepper}\n")
    with Store.open(url, load_secrets(url, KEY, None, None)) as store:
        assert store.read(auth.get, world.id, "own", "a") == b"1"


def test_secrets_do_not_show(url: str) -> None:
    secrets = Secrets(KEY, PEPPER, ("p" * 32,))
    assert not [secret for secret in (KEY, PEPPER, "pppp") if secret in repr(secrets)]


@pytest.mark.parametrize("wrong", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://x", ""])
def test_url_that_is_none_of_ours_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        locate(wrong)


def test_location_shows_no_password() -> None:
    location = locate("postgresql://user:hunter2@db.example:5432/whatisup?password=hunter2")
    assert location.name == "postgresql://db.example:5432/whatisup"
    assert "hunter2" not in repr(location)
