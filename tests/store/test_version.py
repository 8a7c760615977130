"""The store's version: what is kept of it counts only while nobody has committed."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import TEST_SECRETS
from whatisup.store import Origin, Store, Tx, customers


def write(tx: Tx) -> None:
    customers.create(tx, name="somebody", origin=Origin("test"), now=tx.now)


def test_version_stands_while_nothing_is_committed(sqlite_store: Store) -> None:
    before = sqlite_store.version()
    assert before is not None
    sqlite_store.read(customers.list_all)
    assert sqlite_store.version() == before


def test_version_moves_with_each_commit_of_ours(sqlite_store: Store) -> None:
    seen = [sqlite_store.version()]
    for _ in range(3):
        sqlite_store.call(write)
        seen.append(sqlite_store.version())
    assert len(set(seen)) == 4


def test_version_moves_when_another_process_commits(sqlite_store: Store, sqlite_path: Path) -> None:
    with Store.open(f"sqlite:///{sqlite_path}", TEST_SECRETS) as other:
        before = sqlite_store.version()
        other.call(write)
        assert sqlite_store.version() != before


def test_version_is_another_once_another_connection_tells_it(sqlite_store: Store) -> None:
    before = sqlite_store.version()
    backend = sqlite_store._backend
    backend._glancing.connection.close()  # type: ignore[attr-defined]  # as after an error that nothing undoes
    backend._glancing = None  # type: ignore[attr-defined]
    sqlite_store.call(write)
    assert sqlite_store.version() != before


def test_version_is_known_where_asking_is_no_round_trip(store: Store) -> None:
    assert (store.version() is not None) is store.is_local
