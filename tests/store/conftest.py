"""A store of each kind for every test of the conformance suite."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from tests.conftest import TEST_SECRETS
from tests.store.conversation import Conversation
from tests.store.world import World
from whatisup.store.store import Store


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite store; copying it is quicker than making one."""
    path = tmp_path_factory.mktemp("template") / "store.db"
    Store.open(f"sqlite:///{path}", TEST_SECRETS).close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> str:
    """The address of an empty store, sealed with `TEST_SECRETS`."""
    if request.param == "sqlite":
        return f"sqlite:///{shutil.copy(sqlite_template, tmp_path)}"
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
def talk(store: Store) -> Conversation:
    """A store with a connected instance in it."""
    conversation = Conversation(store)
    conversation.link()
    return conversation


@pytest.fixture
def count_statements() -> Callable[[Store], AbstractContextManager[list[str]]]:
    """Collect the statements that a store's writer executes within a block."""

    @contextmanager
    def counting(store: Store) -> Iterator[list[str]]:
        statements: list[str] = []

        def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
            statements.append(statement)

        event.listen(store._backend.writer, "before_cursor_execute", note)
        try:
            yield statements
        finally:
            event.remove(store._backend.writer, "before_cursor_execute", note)

    return counting


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    """Where a SQLite-only test puts its store; nothing is there yet."""
    return tmp_path / "store.db"


@pytest.fixture
def sqlite_store(sqlite_path: Path, sqlite_template: Path) -> Iterator[Store]:
    """An open SQLite store, empty."""
    shutil.copy(sqlite_template, sqlite_path)
    with Store.open(f"sqlite:///{sqlite_path}", TEST_SECRETS) as store:
        yield store
