"""A store of each kind for every test of the conformance suite."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import TEST_SECRETS
from tests.store.world import World
from whatisup.store.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store that is empty (PostgreSQL) or does not exist yet (SQLite)."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def open_store(store_url: str) -> Iterator[Callable[[], Store]]:
    """Open another handle on the test's store, as a second process would."""
    opened: list[Store] = []

    def open_one() -> Store:
        opened.append(Store.open(store_url, TEST_SECRETS, now_ms=itertools.count(1_700_000_000_000).__next__))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    """An open store on either database."""
    return open_store()


@pytest.fixture
def world(store: Store) -> World:
    """A store with a customer and an instance in it."""
    return World(store)


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    """Where a SQLite-only test puts its store."""
    return tmp_path / "store.db"


@pytest.fixture
def sqlite_store(sqlite_path: Path) -> Iterator[Store]:
    """An open SQLite store."""
    with Store.open(f"sqlite:///{sqlite_path}", TEST_SECRETS) as store:
        yield store
