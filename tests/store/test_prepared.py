"""Prepared statements: as `conn.execute`, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, MultipleResultsFound, NoResultFound

from tests.conftest import TEST_SECRETS
from whatisup.errors import StoreError
from whatisup.store.prepared import MAX_PADDED, Prepared
from whatisup.store.store import Store
from whatisup.store.transaction import Tx
from whatisup.store.upsert import insert_new

things = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text),
    Column("is_new", Boolean, nullable=False),
    Column("blob", LargeBinary),
    Column("hue", Text, server_default="red"),
    UniqueConstraint("name"),
)
ROWS = [
    {"id": 1, "name": "one", "is_new": True, "blob": b"\x00\x01"},
    {"id": 2, "name": "two", "is_new": False, "blob": None},
    {"id": 3, "name": "three", "is_new": True, "blob": b""},
]

ALL = select(things).order_by(things.c.id)
BY_IDS = select(things.c.id).where(things.c.id.in_(bindparam("ids", expanding=True))).order_by(things.c.id)


@pytest.fixture
def store(store: Store) -> Iterator[Store]:
    """A store with a table of things."""

    def make(tx: Tx) -> None:
        things.create(tx.conn)
        Prepared(insert(things)).many(tx.conn, ROWS)

    store.call(make)
    yield store
    store.call(lambda tx: things.drop(tx.conn))


def ask(store: Store, how: str, statement: Any, **params: Any) -> Any:
    return store.read(lambda conn, _vault: getattr(Prepared(statement), how)(conn, **params))


def test_rows_are_those_of_sqlalchemy(store: Store) -> None:
    assert ask(store, "rows", ALL) == store.read(lambda conn, _: [tuple(row) for row in conn.execute(ALL)])


def test_rows_have_names_and_types(store: Store) -> None:
    row = ask(store, "rows", ALL)[0]
    assert (row.id, row.name, row.is_new, row.blob, row.hue) == (1, "one", True, b"\x00\x01", "red")
    assert row.is_new is True
    assert type(row.blob) is bytes


def test_columns_of_functions_and_labels_have_names(store: Store) -> None:
    row = ask(store, "one", select(func.count(), func.max(things.c.id).label("last")))
    assert row == (3, 3)
    assert row.last == 3


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 100, 5000])
def test_lists_of_any_length(store: Store, count: int) -> None:
    assert ask(store, "scalars", BY_IDS, ids=list(range(2, 2 + count))) == [2, 3][:count]


def test_lists_of_one_statement_do_not_mix(store: Store) -> None:
    statement = Prepared(BY_IDS)
    for ids in ([1, 2, 3], [3], [], [2, 3], [1, 2, 3, 4]):
        assert store.read(lambda conn, _, ids=ids: statement.scalars(conn, ids=ids)) == [i for i in ids if i < 4]


def test_texts_for_very_long_lists_are_not_kept(store: Store) -> None:
    prepared = Prepared(BY_IDS)
    for count in (3, 4, MAX_PADDED + 1, MAX_PADDED + 2):
        assert len(store.read(lambda conn, _, ids=range(count): prepared.scalars(conn, ids=ids))) == min(count - 1, 3)
    (plan,) = prepared._plans.values()
    assert set(plan._expanded) == {(4,)}


def test_list_that_is_written_in_the_statement(store: Store) -> None:
    query = select(things.c.id).where(things.c.name.in_(["one", "three"]), things.c.is_new == bindparam("new"))
    assert sorted(ask(store, "scalars", query, new=True)) == [1, 3]
    assert ask(store, "scalars", query, new=False) == []


def test_lists_beside_other_parameters(store: Store) -> None:
    query = select(things.c.id).where(
        things.c.is_new == bindparam("new"),
        things.c.id.in_(bindparam("ids", expanding=True)),
        things.c.name != "three",
        things.c.name.in_(bindparam("names", expanding=True)),
    )
    statement = Prepared(query)
    for _ in range(2):
        assert store.read(
            lambda conn, _: statement.scalars(conn, ids=[1, 2, 3], new=True, names=["one", "two", "three"])
        ) == [1]


def test_constants_and_limits(store: Store) -> None:
    query = select(things.c.id).where(things.c.is_new.is_(True), things.c.name != "three").limit(1)
    assert ask(store, "scalar", query) == 1
    assert ask(store, "scalar", query.where(things.c.name == "100% no")) is None


def test_one_and_none(store: Store) -> None:
    by_id = select(things).where(things.c.id == bindparam("id"))
    assert ask(store, "one", by_id, id=2).name == "two"
    assert ask(store, "one_or_none", by_id, id=9) is None
    with pytest.raises(NoResultFound):
        ask(store, "one", by_id, id=9)
    with pytest.raises(MultipleResultsFound):
        ask(store, "one_or_none", ALL)


def test_run_tells_how_many_rows_changed(store: Store) -> None:
    change = Prepared(update(things).where(things.c.is_new == bindparam("was")).values(hue=bindparam("to")))
    assert store.call(lambda tx: change.run(tx.conn, was=True, to="blue")) == 2
    assert [row.hue for row in ask(store, "rows", ALL)] == ["blue", "red", "blue"]


def test_insert_with_other_columns_each_time(store: Store) -> None:
    put = Prepared(insert(things))

    def both(tx: Tx) -> None:
        put.run(tx.conn, id=4, is_new=False)
        put.run(tx.conn, id=5, is_new=True, hue="green")
        put.many(tx.conn, [])
        put.many(tx.conn, [{"id": n, "is_new": False, "blob": bytes([n])} for n in (6, 7)])

    store.call(both)
    assert [(row.hue, row.blob) for row in ask(store, "rows", ALL)[3:]] == [
        ("red", None), ("green", None), ("red", b"\x06"), ("red", b"\x07")
    ]  # fmt: skip


def test_what_is_deleted_is_returned(store: Store) -> None:
    gone = Prepared(delete(things).where(things.c.is_new.is_(True)).returning(things.c.id, things.c.is_new))
    assert sorted(store.call(lambda tx: gone.rows(tx.conn))) == [(1, True), (3, True)]


def test_statement_of_each_dialect(store: Store) -> None:
    put = Prepared(lambda dialect: insert_new(dialect, things))
    assert store.call(lambda tx: put.run(tx.conn, id=1, is_new=False)) == 0
    assert store.call(lambda tx: put.run(tx.conn, id=8, is_new=False)) == 1


def test_refusal_is_the_driver_s_error_and_undoes_the_item_alone(store: Store) -> None:
    put = Prepared(insert(things))

    def clash(tx: Tx) -> None:
        put.run(tx.conn, id=9, name="needle", is_new=True)
        with pytest.raises(IntegrityError) as caught, tx.savepoint():
            put.run(tx.conn, id=10, name="needle", is_new=True)
        assert caught.value.orig is not None
        assert "10" not in str(caught.value)
        put.run(tx.conn, id=11, is_new=True)

    store.call(clash)
    assert [row.id for row in ask(store, "rows", ALL)] == [1, 2, 3, 9, 11]
    with pytest.raises(StoreError):
        store.call(lambda tx: put.run(tx.conn, id=1, is_new=True))


def test_refusal_of_many_is_told_as_well(store: Store) -> None:
    with pytest.raises(StoreError):
        store.call(lambda tx: Prepared(insert(things)).many(tx.conn, ROWS))


def test_one_statement_serves_both_databases(store: Store, tmp_path: Any) -> None:
    statement = Prepared(select(things.c.is_new).where(things.c.id == bindparam("id")))
    with Store.open(f"sqlite:///{tmp_path}/other.db", TEST_SECRETS) as other:
        other.call(lambda tx: things.create(tx.conn))
        other.call(lambda tx: Prepared(insert(things)).many(tx.conn, ROWS))
        for one in (store, other, store):
            assert one.read(lambda conn, _: statement.scalar(conn, id=2)) is False


def test_listener_of_the_engine_sees_it(store: Store, count_statements: Any) -> None:
    with count_statements(store) as statements:
        store.call(lambda tx: Prepared(insert(things)).run(tx.conn, id=12, is_new=True))
    assert any("INTO things" in statement for statement in statements)
