"""Units: what an instance changes together, on both databases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.store.world import BUG, CONNECTED, NOW, ORIGIN, World, told
from whatisup.errors import Fenced, StoreError
from whatisup.lifecycle import Reason, State
from whatisup.store import (
    AppendAudit,
    Call,
    Committed,
    DeleteAuth,
    Intent,
    MarkDeleted,
    MarkPrekeys,
    Mode,
    NewAuth,
    PutAuth,
    PutPrekeys,
    SetIntent,
    SetStatus,
    Store,
    Touch,
    Unit,
    WipeAuth,
    apply,
    audit,
    auth,
    instances,
)
from whatisup.store.target import Target

GARBAGE = SetStatus(State.PENDING, has_account=True)
"""Violates a CHECK of the schema."""


def test_unit_writes_everything_together(world: World) -> None:
    committed = world.write(
        NewAuth(),
        PutAuth("own", "credentials", b"secret"),
        SetStatus(State.QR_REQUIRED, has_account=False),
        Touch(NOW + 5),
        SetIntent(Intent.LOG_OUT),
        told("hello"),
        AppendAudit(ORIGIN, "instance.start", None, {"a": 1}, NOW),
    )
    row = world.row()
    assert (row.status, row.last_seen_at, row.intent) == (State.QR_REQUIRED, NOW + 5, Intent.LOG_OUT)
    assert world.auth("credentials") == b"secret"
    assert [event.data for event in committed.events] == [{"text": "hello"}]
    assert world.events() == list(committed.events)
    entries, _ = world.store.read(lambda conn, vault: audit.page(conn, vault, customer_id=world.customer.id))
    assert (entries[0].action, entries[0].after, entries[0].actor) == ("instance.start", {"a": 1}, "operator")


def test_unit_order_of_operations_does_not_matter(world: World) -> None:
    world.write(PutAuth("own", "a", b"1"), NewAuth())
    assert world.auth("a") == b"1"


def test_unit_that_fails_writes_nothing(world: World) -> None:
    results = world.store.commit([world.unit(told(), Touch(NOW), GARBAGE)])
    assert isinstance(results[0], StoreError)
    assert results.events == ()
    assert world.row().last_seen_at is None
    assert world.events() == []


def test_poisoned_unit_fails_alone(world: World) -> None:
    others = [world.another(name=f"n{i}") for i in range(4)]
    batch: list[Unit | Call] = [Unit(other.id, 0, (told(other.name),)) for other in others]
    batch.insert(2, world.unit(told("never"), GARBAGE))
    batch.insert(4, BUG)
    results = world.store.commit(batch)
    assert [type(result) for result in results] == [
        Committed, Committed, StoreError, Committed, ZeroDivisionError, Committed
    ]  # fmt: skip
    assert [event.data for event in world.events()] == [{"text": f"n{i}"} for i in range(4)]
    assert [event.position for event in world.events()] == [1, 2, 3, 4], "an undone unit leaves no hole"
    assert results.events == tuple(world.events())


def test_poisoned_unit_is_named_without_its_values(world: World) -> None:
    (error,) = world.store.commit([world.unit(replace(GARBAGE, phone_number="4915112345678"))])
    assert "instance_situation" in str(error)
    assert "4915112345678" not in str(error)


def test_unit_without_data_key_is_refused(world: World) -> None:
    (error,) = world.store.commit([world.unit(PutAuth("own", "a", b"1"))])
    assert isinstance(error, StoreError)


def test_unit_of_unknown_operation_is_refused(world: World) -> None:
    (error,) = world.store.commit([world.unit("not an operation")])  # type: ignore[arg-type] # that is the test
    assert isinstance(error, StoreError)


def test_call_that_fails_undoes_only_itself(world: World) -> None:
    def half(tx: object) -> None:
        instances.bump_incarnation(tx, world.id)  # type: ignore[arg-type] # a Tx
        raise ZeroDivisionError

    results = world.store.commit([Call(half), world.unit(Touch(NOW))])
    assert isinstance(results[0], ZeroDivisionError)
    assert isinstance(results[1], Committed)
    assert world.row().incarnation == 0


def test_two_units_of_one_instance_keep_their_order(world: World) -> None:
    world.pair(a=b"old")
    world.store.commit(
        [
            world.unit(PutAuth("own", "a", b"1"), told("first")),
            world.unit(WipeAuth(), told("second")),
            world.unit(NewAuth(), PutAuth("own", "b", b"2"), told("third")),
        ]
    )
    assert (world.auth("a"), world.auth("b")) == (None, b"2")
    assert [(event.seq, event.data) for event in world.events()] == [
        (1, {"text": "first"}), (2, {"text": "second"}), (3, {"text": "third"})
    ]  # fmt: skip


# --- the fence ------------------------------------------------------------------------------------------------------


def test_older_incarnation_is_fenced_alone(world: World) -> None:
    other = world.another()
    world.bump()
    results = world.store.commit(
        [
            world.unit(told("ghost"), CONNECTED),
            Unit(other.id, 0, (told("living"),)),
            Unit("inst_nobody", 0, (told("nowhere"),)),
            world.unit(told("successor"), incarnation=1),
        ]
    )
    assert [type(result) for result in results] == [Fenced, Committed, Fenced, Committed]
    assert [event.data for event in world.events()] == [{"text": "living"}, {"text": "successor"}]
    assert world.row().status is State.PENDING


def test_younger_incarnation_is_fenced_too(world: World) -> None:
    (result,) = world.store.commit([world.unit(told(), incarnation=7)])
    assert isinstance(result, Fenced)


def test_bump_in_the_same_batch_fences_what_follows(world: World) -> None:
    bump = Call(instances.bump_incarnation, (world.id,))
    results = world.store.commit([world.unit(told("before")), bump, world.unit(told("after"))])
    assert [type(result) for result in results][::2] == [Committed, Fenced]
    assert results[1].incarnation == 1
    assert [event.data for event in world.events()] == [{"text": "before"}]


def test_bump_that_is_undone_fences_nobody(world: World) -> None:
    def half(tx: object) -> None:
        instances.bump_incarnation(tx, world.id)  # type: ignore[arg-type] # a Tx
        raise ZeroDivisionError

    results = world.store.commit([Call(half), world.unit(told())])
    assert isinstance(results[1], Committed)


def test_fence_costs_one_select_a_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    selects = []
    fence = apply._fence

    def counted(connection: Connection, units: Iterable[Unit]) -> dict[str, Target]:
        selects.append(1)
        return fence(connection, units)

    monkeypatch.setattr(apply, "_fence", counted)
    units = [Unit(world.another(name=str(i)).id, 0, (told(),)) for i in range(20)]
    assert all(isinstance(result, Committed) for result in world.store.commit(units))
    assert len(selects) == 1


# --- auth state -----------------------------------------------------------------------------------------------------


def test_auth_is_overwritten_and_deleted_by_key(world: World) -> None:
    world.pair(a=b"1", b=b"2")
    world.write(PutAuth("own", "a", b"1" * 5000), DeleteAuth("own", "b"), DeleteAuth("own", "never was"))
    assert (world.auth("a"), world.auth("b")) == (b"1" * 5000, None)
    assert world.auth("a", kind="other") is None


def test_last_value_of_a_key_wins_within_a_unit(world: World) -> None:
    world.write(NewAuth(), PutAuth("own", "a", b"1"), PutAuth("own", "a", b"2"))
    assert world.auth("a") == b"2"


def test_prekeys_are_kept_counted_and_marked(world: World) -> None:
    read = world.store.read
    assert read(auth.next_prekey_id, world.id) == 1
    world.write(NewAuth(), PutPrekeys(((1, b"\x01" * 32), (2, b"\x02" * 32))))
    world.write(PutPrekeys(((3, b"\x03" * 32),)), MarkPrekeys((1, 2), "offered"))
    world.write(MarkPrekeys((2,), "uploaded"), PutPrekeys(()), MarkPrekeys((), "offered"))
    assert read(auth.next_prekey_id, world.id) == 4
    assert read(auth.prekey, world.id, 2) == b"\x02" * 32
    assert read(auth.prekey, world.id, 9) is None
    states = {state: read(auth.prekey_ids, world.id, state) for state in ("generated", "offered", "uploaded")}
    assert states == {"generated": [3], "offered": [1], "uploaded": [2]}


@pytest.mark.parametrize("prekey_id", [0, 1 << 24])
def test_prekey_id_outside_three_bytes_is_refused(world: World, prekey_id: int) -> None:
    (error,) = world.store.commit([world.unit(NewAuth(), PutPrekeys(((prekey_id, b"\x01" * 32),)))])
    assert isinstance(error, StoreError)


def test_wipe_leaves_no_auth_and_the_next_pairing_starts_over(world: World) -> None:
    world.pair(a=b"1")
    world.write(PutPrekeys(((1, b"\x01" * 32),)))
    world.write(WipeAuth())
    assert world.auth("a") is None
    assert world.store.read(auth.prekey, world.id, 1) is None
    assert world.store.read(auth.next_prekey_id, world.id) == 1
    (refused,) = world.store.commit([world.unit(PutAuth("own", "a", b"2"))])
    assert isinstance(refused, StoreError)
    world.pair(a=b"3")
    assert world.auth("a") == b"3"


def test_wipe_of_one_instance_leaves_the_others(world: World) -> None:
    other = world.another()
    world.pair(a=b"1")
    world.pair(other.id, a=b"2")
    world.write(WipeAuth())
    assert world.auth("a", other.id) == b"2"


def test_orphans_are_found_and_wiped(world: World) -> None:
    kept = world.another()
    for instance_id in (world.id, kept.id):
        world.pair(instance_id, a=b"1")
    world.write(MarkDeleted(NOW))
    assert world.store.read(auth.orphans) == [world.id]
    world.store.call(auth.wipe_orphans, [world.id, kept.id])
    assert world.store.read(auth.orphans) == []
    assert (world.auth("a"), world.auth("a", kept.id)) == (None, b"1")


# --- the instance's row ---------------------------------------------------------------------------------------------


def test_status_keeps_what_it_is_not_told(world: World) -> None:
    world.write(replace(CONNECTED, phone_number="4915112345678", lid="1@lid"))
    world.write(SetStatus(State.DISCONNECTED, True, Reason.NETWORK, "stopped", NOW + 9))
    row = world.row()
    assert (row.phone_number, row.lid) == ("4915112345678", "1@lid")
    assert (row.status, row.reason, row.detail, row.expires_at) == (
        State.DISCONNECTED, Reason.NETWORK, "stopped", NOW + 9
    )  # fmt: skip
    world.write(SetStatus(State.DISCONNECTED, False, phone_number=None, lid=None))
    row = world.row()
    assert (row.phone_number, row.lid, row.reason, row.has_account) == (None, None, None, False)


def test_statuses_of_many_instances_go_their_own_ways(world: World) -> None:
    other = world.another()
    world.store.commit([world.unit(replace(CONNECTED, phone_number="1")), Unit(other.id, 0, (CONNECTED,))])
    assert (world.row().phone_number, world.row(other.id).phone_number) == ("1", None)


def test_deleted_instance_is_hidden(world: World) -> None:
    world.write(MarkDeleted(NOW + 1), told("gone"))
    assert world.store.read(instances.get, world.id) is None
    assert world.row().deleted_at == NOW + 1
    rows, _ = world.store.read(instances.list_page, world.customer.id, Mode.LIVE)
    assert rows == []
    assert [event.data for event in world.events()] == [{"text": "gone"}]


def test_events_of_calls_are_reported_with_the_batch(world: World) -> None:
    def tell(tx: object) -> object:
        return tx.append_event(world.id, "instance.status", {"text": "called"})  # type: ignore[attr-defined] # a Tx

    results = world.store.commit([world.unit(told("one")), Call(tell), world.unit(told("two"))])
    assert [event.data for event in results.events] == [{"text": "one"}, {"text": "called"}, {"text": "two"}]
    assert [event.seq for event in results.events] == [1, 2, 3]
    assert world.events() == list(results.events)


def test_calls_that_may_stand_anywhere_part_no_units(world: World, count_statements: Any) -> None:
    def tell(tx: Any, name: str) -> str:
        tx.append_event(world.id, "instance.status", {"text": name})
        return name

    others = [world.another(name=f"other {n}").id for n in range(3)]
    units = [world.unit(told(one), instance_id=one) for one in others]
    with count_statements(world.store) as together:
        world.store.commit(units)
    batch: list[Unit | Call] = [
        Call(tell, ("a",), anywhere=True),
        *units[:2],
        Call(tell, ("b",), anywhere=True),
        units[2],
        Call(tell, ("c",)),
    ]
    with count_statements(world.store) as mixed:
        results = world.store.commit([*batch, world.unit(told("last")), BUG])
    texts = [event.data and event.data["text"] for event in results.events]
    assert texts == [*others, "a", "b", "c", "last"], "what cares for its place keeps it"
    assert [results[0], results[3], results[5]] == ["a", "b", "c"]
    assert [[event.data and event.data["text"] for event in results[n].events] for n in (1, 2, 4, 6)] == [
        [others[0]], [others[1]], [others[2]], ["last"]
    ]  # fmt: skip
    assert isinstance(results[7], ZeroDivisionError)
    told_of = [statement for statement in mixed if statement.startswith("UPDATE instances SET last_seq")]
    assert len([one for one in together if one.startswith("UPDATE instances SET last_seq")]) == 1
    assert len(told_of) == 2 + 3, "one for each run of units, one for each call"


def test_empty_batch_is_a_probe(store: Store) -> None:
    assert store.commit([]) == []
    store.probe()
