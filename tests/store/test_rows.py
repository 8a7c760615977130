"""Rows of instances, customers, phones, settings and the audit log, as the API and the actors ask for them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from tests.store.world import CONNECTED, NOW, ORIGIN, World, make_customer, make_instance
from whatisup.errors import BadCursor, Fenced, StoreError, UnknownInstance
from whatisup.lifecycle import Reason, State
from whatisup.store import (
    Intent,
    MarkDeleted,
    Mode,
    NewAuth,
    SetIntent,
    SetStatus,
    Store,
    audit,
    customers,
    instances,
    phones,
    settings,
)
from whatisup.store.cursor import decode_cursor, encode_cursor

BANNED = SetStatus(State.DISCONNECTED, True, Reason.SESSION_INVALIDATED, "temp_banned", NOW + 60)
OUTDATED = SetStatus(State.DISCONNECTED, True, Reason.SESSION_INVALIDATED, "client_outdated")


def patch(world: World, instance_id: str, mode: Mode = Mode.LIVE, **changes: Any) -> Any:
    return world.store.call(
        lambda tx: instances.patch(
            tx, instance_id, customer_id=world.customer.id, mode=mode, origin=ORIGIN, now=NOW, **changes
        )
    )


# --- instances ------------------------------------------------------------------------------------------------------


def test_new_instance_is_pending(world: World) -> None:
    made = world.instance
    assert made == world.row()
    assert (made.status, made.has_account, made.incarnation, made.intent) == (State.PENDING, False, 0, None)
    assert made.id.startswith("inst_")


def test_instance_needs_its_customer(store: Store) -> None:
    ghost = replace(make_customer(store), id="cust_ghost")
    with pytest.raises(StoreError):
        make_instance(store, ghost)


def test_instance_of_somebody_else_does_not_exist(world: World) -> None:
    read = world.store.read
    assert read(instances.get, world.id, world.customer.id, Mode.LIVE) == world.instance
    assert read(instances.get, world.id, "cust_other", Mode.LIVE) is None
    assert read(instances.get, world.id, world.customer.id, Mode.TEST) is None
    assert read(instances.get, "inst_none") is None


def test_list_goes_from_new_to_old_in_pages(world: World) -> None:
    made = [world.id, *(world.another(name=str(i)).id for i in range(6))]
    world.another(mode=Mode.TEST)
    make_instance(world.store, make_customer(world.store, "Grace"))
    seen: list[str] = []
    cursor = None
    for _ in range(10):
        rows, cursor = world.store.read(instances.list_page, world.customer.id, Mode.LIVE, None, 3, cursor)
        seen += [row.id for row in rows]
        if cursor is None:
            break
    assert seen == made[::-1]


def test_list_keeps_instances_of_one_millisecond_apart(world: World) -> None:
    made = {
        world.store.call(
            lambda tx, i=i: instances.create(
                tx, customer_id=world.customer.id, mode=Mode.TEST, name=str(i), metadata={}, origin=ORIGIN, now=NOW
            )
        ).id
        for i in range(5)
    }
    first, cursor = world.store.read(instances.list_page, world.customer.id, Mode.TEST, None, 2)
    rest, end = world.store.read(instances.list_page, world.customer.id, Mode.TEST, None, 3, cursor)
    assert {row.id for row in (*first, *rest)} == made
    assert end is None


def test_list_of_a_bound_key_has_one_row(world: World) -> None:
    world.another()
    rows, cursor = world.store.read(instances.list_page, world.customer.id, Mode.LIVE, world.id)
    assert ([row.id for row in rows], cursor) == ([world.id], None)


@pytest.mark.parametrize("cursor", ["", "x", "é", "AAAA", encode_cursor(1, ""), "!" * 8, encode_cursor(1 << 70, "a")])
def test_cursor_that_is_none_of_ours_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(cursor)


def test_cursor_comes_back() -> None:
    assert decode_cursor(encode_cursor(NOW, "inst_1")) == (NOW, "inst_1")


def test_patch_changes_what_it_is_given(world: World) -> None:
    assert patch(world, world.id, metadata={"a": [1, {"b": "ü"}]}).metadata == {"a": [1, {"b": "ü"}]}
    after = patch(world, world.id, name="second")
    assert (after.name, after.metadata) == ("second", {"a": [1, {"b": "ü"}]})
    assert after == world.row()


def test_patch_of_an_unknown_instance_is_refused(world: World) -> None:
    world.write(MarkDeleted(NOW))
    for args in (("inst_none", Mode.LIVE), (world.id, Mode.TEST), (world.id, Mode.LIVE)):
        with pytest.raises(UnknownInstance):
            patch(world, *args, name="x")


def test_bump_begins_a_new_incarnation(world: World) -> None:
    assert [world.bump().incarnation for _ in range(3)] == [1, 2, 3]
    with pytest.raises(UnknownInstance):
        world.bump("inst_none")


def test_begin_wipe_records_the_wish_and_fences(world: World) -> None:
    world.bump()
    after = world.store.call(instances.begin_wipe, world.id, 1, Intent.DELETE, ORIGIN, NOW)
    assert (after.intent, after.incarnation) == (Intent.DELETE, 2)
    with pytest.raises(Fenced):
        world.store.call(instances.begin_wipe, world.id, 1, Intent.DELETE, ORIGIN, NOW)
    with pytest.raises(UnknownInstance):
        world.store.call(instances.begin_wipe, "inst_none", 0, Intent.DELETE, ORIGIN, NOW)
    entries, _ = world.store.read(lambda c, v: audit.page(c, v, customer_id=world.customer.id, target_id=world.id))
    assert [entry.action for entry in entries] == ["instance.delete", "instance.created"]


def test_runnable_is_what_should_have_a_socket_or_a_wish(world: World) -> None:
    ids = {name: world.another(name=name).id for name in ("connected", "offering", "stopped", "leaving", "deleted")}
    world.write(CONNECTED, instance_id=ids["connected"])
    world.write(SetStatus(State.QR_REQUIRED, False), instance_id=ids["offering"])
    world.write(SetStatus(State.DISCONNECTED, True), instance_id=ids["stopped"])
    world.write(SetStatus(State.DISCONNECTED, True), SetIntent(Intent.LOG_OUT), instance_id=ids["leaving"])
    world.write(CONNECTED, MarkDeleted(NOW), instance_id=ids["deleted"])
    found = {row.id: row for row in world.store.read(instances.runnable)}
    assert set(found) == {ids["connected"], ids["offering"], ids["leaving"]}
    assert found[ids["leaving"]].intent is Intent.LOG_OUT
    assert (found[ids["connected"]].status, found[ids["connected"]].has_account) == (State.CONNECTED, True)


def test_counts_are_by_mode_and_status(world: World) -> None:
    world.write(CONNECTED, instance_id=world.another(mode=Mode.TEST).id)
    world.write(CONNECTED, instance_id=world.another(mode=Mode.TEST).id)
    world.write(MarkDeleted(NOW), instance_id=world.another().id)
    assert world.store.read(instances.counts_by_status) == {
        (Mode.LIVE, State.PENDING): 1, (Mode.TEST, State.CONNECTED): 2
    }  # fmt: skip


def test_touch_moves_times_forward_of_connected_ones(world: World) -> None:
    connected, late, away = (world.another(name=str(i)).id for i in range(3))
    for instance_id in (connected, late):
        world.write(CONNECTED, instance_id=instance_id)
    world.store.call(instances.touch_connected, {late: NOW + 9})
    world.store.call(instances.touch_connected, {connected: NOW + 5, late: NOW + 5, away: NOW + 5, "inst_none": NOW})
    assert [world.row(i).last_seen_at for i in (connected, late, away)] == [NOW + 5, NOW + 9, None]


def test_ban_expires(world: World) -> None:
    world.write(BANNED)
    world.write(replace(BANNED, expires_at=None), instance_id=world.another().id)
    world.write(replace(BANNED, detail="stopped"), instance_id=world.another().id)
    world.write(replace(BANNED, has_account=False), instance_id=world.another().id)
    assert world.store.read(instances.expired_bans, NOW + 59) == []
    assert world.store.read(instances.expired_bans, NOW + 60) == [world.id]


def test_outdated_instances_wait_for_another_version(world: World) -> None:
    store = world.store

    def announce(version: str) -> list[str]:
        store.call(lambda tx: settings.put(tx, settings.CLIENT_VERSION, version, tx.now))
        return store.read(instances.outdated, version)

    assert announce("2.1") == []
    world.write(OUTDATED)
    assert announce("2.1") == [], "the same version would be refused again"
    assert announce("2.2") == [world.id]
    world.write(OUTDATED)
    assert announce("2.2") == [], "the new one was refused as well"
    assert store.read(instances.outdated, "2.3") == [], "not announced yet"


# --- customers, phones, settings, audit -----------------------------------------------------------------------------


def test_customers_are_listed_in_order(store: Store) -> None:
    made = [make_customer(store, name) for name in ("Ada", "Grace")]
    assert [c.id for c in store.read(customers.list_all)] == sorted(c.id for c in made)
    assert store.read(customers.get, made[0].id) == made[0]
    assert store.read(customers.get, "cust_none") is None


def test_number_belongs_to_who_made_it(world: World) -> None:
    other = make_customer(world.store, "Grace")
    claim, number = phones.claim, "999123456789"
    assert world.store.call(claim, world.customer.id, number, NOW)
    assert world.store.call(claim, world.customer.id, number, NOW)
    assert not world.store.call(claim, other.id, number, NOW)
    assert world.store.read(phones.owner, number) == world.customer.id
    assert world.store.read(phones.owners) == {number: world.customer.id}
    assert world.store.read(phones.get, number, other.id) is None
    assert [phone.number for phone in world.store.read(phones.list_by_customer, world.customer.id)] == [number]
    assert world.store.read(phones.list_by_customer, other.id) == []


@pytest.mark.parametrize("number", ["4915112345678", "99912345678", "9991234567890"])
def test_number_outside_the_sandbox_is_refused(world: World, number: str) -> None:
    with pytest.raises(StoreError):
        world.store.call(phones.claim, world.customer.id, number, NOW)


def test_setting_knows_since_when(store: Store) -> None:
    clock = itertools.count(NOW)
    changed = [store.call(settings.put, "a", value, next(clock)) for value in ("1", "1", "2", "2")]
    assert changed == [True, False, True, False]
    assert store.read(settings.get, "a") == "2"
    assert store.read(settings.get, "b") is None


def test_audit_pages_from_new_to_old(world: World) -> None:
    for i in range(5):
        patch(world, world.id, name=str(i))

    def page(**how: Any) -> Any:
        return world.store.read(lambda conn, vault: audit.page(conn, vault, customer_id=world.customer.id, **how))

    first, cursor = page(limit=3)
    rest, end = page(limit=10, cursor=cursor)
    assert [entry.action for entry in (*first, *rest)] == [
        *["instance.updated"] * 5, "instance.created", "customer.created"
    ]  # fmt: skip
    assert end is None
    assert (first[0].before, first[0].after) == ({"name": "3"}, {"name": "4"})
    in_test, _ = page(mode=Mode.TEST)  # what concerns the customer as a whole is in both modes
    assert [entry.action for entry in in_test] == ["customer.created"]
    with pytest.raises(BadCursor):
        page(cursor="aud_none")
    with pytest.raises(BadCursor):
        page(cursor=first[0].id, mode=Mode.TEST)


def test_new_auth_of_a_deleted_row_is_no_crash(world: World) -> None:
    world.write(MarkDeleted(NOW))
    world.write(NewAuth())
    assert world.row().deleted_at == NOW


def test_instance_is_gone_for_its_customer_once_the_wish_to_delete_it_is_on_record(world: World) -> None:
    other = world.another(name="other")

    def mine() -> list[str]:
        page, _ = world.store.read(instances.list_page, world.customer.id, Mode.LIVE)
        shown = [world.store.read(instances.get, one, world.customer.id, Mode.LIVE) for one in (world.id, other.id)]
        assert {row.id for row in page} == {row.id for row in shown if row is not None}
        return [row.id for row in page]

    world.store.call(instances.begin_wipe, other.id, 0, Intent.LOG_OUT, ORIGIN, NOW)
    assert set(mine()) == {world.id, other.id}, "a logout hides nothing"
    world.store.call(instances.begin_wipe, world.id, 0, Intent.DELETE, ORIGIN, NOW)
    assert mine() == [other.id]
    with pytest.raises(UnknownInstance):
        patch(world, world.id, name="late")
    assert world.store.read(instances.get, world.id) is not None, "its actor still sees it"
    assert {row.id for row in world.store.read(instances.runnable)} == {world.id, other.id}
