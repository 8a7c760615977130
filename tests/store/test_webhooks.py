"""Webhook endpoints: whose they are, what is secret of them, and what is put down about changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from tests.store.hooks import SECRET, Hooks, arrived
from tests.store.world import NOW, ORIGIN, make_customer, read_events, told
from whatisup.errors import BadCursor, SealBroken, StoreError, TooManyEndpoints
from whatisup.store import DisabledReason, Endpoint, EndpointChanges, Mode, Ordering, Store, tables, webhooks

DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def hooks(store: Store) -> Hooks:
    return Hooks(store)


def test_endpoint_is_what_was_asked_for(hooks: Hooks) -> None:
    made = hooks.endpoint(
        "message.*", "qr.updated", instance_ids=[hooks.id], ordering=Ordering.STRICT,
        headers={"X-Shop": "needle"}, has_custom_secret=True,
    )  # fmt: skip
    assert made.id.startswith("wh_")
    assert (made.customer_id, made.mode, made.url) == (hooks.customer.id, Mode.LIVE, "https://hooks.example/in?token=1")
    assert (made.events, made.instance_ids) == (("message.*", "qr.updated"), (hooks.id,))
    assert (made.is_enabled, made.ordering, made.has_custom_secret) == (True, Ordering.STRICT, True)
    assert (made.header_names, made.disabled_reason, made.failing_since) == (("X-Shop",), None, None)
    assert hooks.find(made) == made


def test_endpoint_that_is_made_disabled_says_that_its_customer_did(hooks: Hooks) -> None:
    made = hooks.endpoint(is_enabled=False)
    assert (made.is_enabled, made.disabled_reason, made.disabled_at) == (
        False, DisabledReason.CUSTOMER, made.created_at
    )  # fmt: skip


def test_customer_has_a_bounded_number(hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_ENDPOINTS", 2)
    first = hooks.endpoint()
    hooks.endpoint()
    with pytest.raises(TooManyEndpoints):
        hooks.endpoint()
    hooks.endpoint(mode=Mode.TEST)
    assert hooks.store.call(lambda tx: webhooks.delete(tx, first.id, **hooks.me))
    hooks.endpoint()


def test_endpoint_needs_its_customer(hooks: Hooks) -> None:
    with pytest.raises(StoreError):
        hooks.endpoint(customer_id="cust_none")


@pytest.mark.parametrize("whose", ["stranger", "mode"])
def test_what_is_not_ones_own_does_not_exist(hooks: Hooks, whose: str) -> None:
    made = hooks.endpoint(headers={"a": "b"})
    foreign = {"customer_id": make_customer(hooks.store, "Grace").id} if whose == "stranger" else {"mode": Mode.TEST}
    owner, asked = hooks.mine | foreign, hooks.me | foreign
    assert hooks.store.read(lambda conn, vault: webhooks.get(conn, vault, made.id, **owner)) is None
    assert hooks.store.read(lambda conn, vault: webhooks.page(conn, vault, **owner)) == ([], None)
    changes = EndpointChanges(url="https://evil.example/")
    assert hooks.store.call(lambda tx: webhooks.patch(tx, made.id, changes=changes, **asked)) is None
    rotation = {"secret": "s", "has_custom_secret": True, "overlap_ms": 1}
    assert hooks.store.call(lambda tx: webhooks.rotate_secret(tx, made.id, **rotation, **asked)) is None
    assert hooks.store.call(lambda tx: webhooks.delete(tx, made.id, **asked)) is False
    assert hooks.find(made) == made


def test_page_goes_from_new_to_old(hooks: Hooks) -> None:
    made = [hooks.endpoint(url=f"https://{n}.example/").url for n in range(5)]

    def page(**how: Any) -> tuple[list[Endpoint], str | None]:
        return hooks.store.read(lambda conn, vault: webhooks.page(conn, vault, **hooks.mine, **how))

    first, cursor = page(limit=3)
    rest, end = page(limit=3, cursor=cursor)
    assert [one.url for one in (*first, *rest)] == made[::-1]
    assert end is None
    with pytest.raises(BadCursor):
        page(cursor="?")


def test_bound_key_sees_what_is_its_instances_alone(hooks: Hooks) -> None:
    other = hooks.another()
    mine = hooks.endpoint(instance_ids=[hooks.id])
    hooks.endpoint(instance_ids=[hooks.id, other.id])
    hooks.endpoint()
    found, _ = hooks.store.read(lambda conn, vault: webhooks.page(conn, vault, **hooks.mine, instance_id=hooks.id))
    assert found == [mine]


# --- changes --------------------------------------------------------------------------------------------------------


def test_patch_changes_what_it_names(hooks: Hooks) -> None:
    made = hooks.endpoint("message.*", headers={"a": "1"}, ordering=Ordering.STRICT)
    after = hooks.patch(made, url="https://new.example/", ordering=None, headers={"b": "2", "c": "3"})
    assert after == hooks.find(made)
    assert after == replace(
        made, url="https://new.example/", ordering=None, header_names=("b", "c"), updated_at=after.updated_at
    )
    assert after.updated_at > made.updated_at
    receiver = hooks.receiver(made)
    assert receiver is not None
    assert (receiver.headers, receiver.secrets) == ({"b": "2", "c": "3"}, (SECRET,))
    assert hooks.patch(made, headers={}).header_names == ()


def test_switching_off_and_on_leaves_a_clean_slate(hooks: Hooks) -> None:
    made = hooks.endpoint()
    off = hooks.patch(made, is_enabled=False)
    assert (off.is_enabled, off.disabled_reason, off.disabled_at) == (False, DisabledReason.CUSTOMER, off.updated_at)
    hooks.store.call(lambda tx: tx.conn.execute(update(tables.webhook_endpoints).values(failing_since=NOW)))
    on = hooks.patch(made, is_enabled=True)
    assert (on.is_enabled, on.disabled_reason, on.disabled_at, on.failing_since) == (True, None, None, None)


def test_enabling_what_is_enabled_does_not_forget_that_it_fails(hooks: Hooks) -> None:
    made = hooks.endpoint()
    hooks.store.call(lambda tx: tx.conn.execute(update(tables.webhook_endpoints).values(failing_since=NOW)))
    assert hooks.patch(made, is_enabled=True).failing_since == NOW


def test_switching_off_twice_keeps_the_first_reason(hooks: Hooks) -> None:
    made = hooks.endpoint()
    hooks.store.call(lambda tx: webhooks.disable(tx, made.id, DisabledReason.GONE))
    assert hooks.patch(made, is_enabled=False).disabled_reason is DisabledReason.GONE


def test_rotation_signs_with_both_for_its_overlap(hooks: Hooks) -> None:
    made = hooks.endpoint()
    rotation = {"has_custom_secret": True, "overlap_ms": DAY_MS}
    after = hooks.store.call(lambda tx: webhooks.rotate_secret(tx, made.id, secret="second", **rotation, **hooks.me))
    assert after is not None
    assert after.previous_secret_until is not None
    assert after.has_custom_secret
    end = after.previous_secret_until
    secrets = [getattr(hooks.receiver(made, now), "secrets", None) for now in (end - 1, end)]
    assert secrets == [("second", SECRET), ("second",)]
    hooks.store.call(lambda tx: webhooks.rotate_secret(tx, made.id, secret="third", **rotation, **hooks.me))
    third = hooks.receiver(made, end - 1)
    assert third is not None
    assert third.secrets == ("third", "second")


def test_rotation_without_overlap_forgets_at_once(hooks: Hooks) -> None:
    made = hooks.endpoint()
    rotation = {"secret": "second", "has_custom_secret": False, "overlap_ms": 0}
    hooks.store.call(lambda tx: webhooks.rotate_secret(tx, made.id, **rotation, **hooks.me))
    receiver = hooks.receiver(made, 0)
    assert receiver is not None
    assert receiver.secrets == ("second",)


def test_delete_destroys_the_secrets(hooks: Hooks) -> None:
    made = hooks.endpoint(headers={"a": "b"})
    assert hooks.store.call(lambda tx: webhooks.delete(tx, made.id, **hooks.me)) is True
    assert hooks.store.call(lambda tx: webhooks.delete(tx, made.id, **hooks.me)) is False
    assert hooks.receiver(made) is None
    row = hooks.store.read(lambda conn, _: conn.execute(select(tables.webhook_endpoints)).one())
    assert (row.secret, row.previous_secret, row.headers, row.data_key_id) == (None, None, None, None)


def test_disabling_tells_the_customer_once(hooks: Hooks) -> None:
    made, other = hooks.endpoint(), hooks.endpoint("webhook.*")
    hooks.store.call(lambda tx: tx.conn.execute(update(tables.webhook_endpoints).values(failing_since=NOW)))
    how = {"last_error": "timeout", "last_response_status": None}
    for expected in (True, False):
        assert hooks.store.call(lambda tx: webhooks.disable(tx, made.id, DisabledReason.FAILING, **how)) is expected
    (event,) = hooks.events()
    assert (event.type, event.instance_id, event.seq) == ("webhook.disabled", None, None)
    assert event.data == {
        "endpoint_id": made.id, "url_host": "hooks.example", "reason": "failing", "failing_since":
        "2023-11-14T22:13:20.000Z", **how,
    }  # fmt: skip
    (delivery,) = hooks.shown()
    assert (delivery.endpoint_id, delivery.event_id) == (other.id, event.id), "not to the one that is disabled"
    found = hooks.find(made)
    assert (found.is_enabled, found.disabled_reason, found.failing_since) == (False, DisabledReason.FAILING, NOW)
    receiver = hooks.receiver(made)
    assert receiver is not None
    assert not receiver.is_enabled
    assert hooks.store.call(lambda tx: webhooks.disable(tx, "wh_none", DisabledReason.GONE)) is False


# --- secrets and the audit log ---------------------------------------------------------------------------------------


def test_changes_are_audited_without_secrets(hooks: Hooks) -> None:
    made = hooks.endpoint("message.*", headers={"X-A": "needle-header"})
    hooks.patch(made, url="https://new.example/", headers={"X-B": "needle-header"}, is_enabled=False)
    rotation = {"secret": "needle-secret", "has_custom_secret": True, "overlap_ms": 0}
    hooks.store.call(lambda tx: webhooks.rotate_secret(tx, made.id, **rotation, **hooks.me))
    hooks.store.call(lambda tx: webhooks.delete(tx, made.id, **hooks.me))
    audited = hooks.audited()
    assert [action for action, _, _ in audited] == [
        f"webhook_endpoint.{what}" for what in ("created", "updated", "secret_rotated", "deleted")
    ]
    assert audited[1][1:] == (
        {"url": made.url, "enabled": True, "header_names": ["X-A"]},
        {"url": "https://new.example/", "enabled": False, "header_names": ["X-B"]},
    )
    assert "needle" not in repr(audited)


def test_secrets_are_in_no_repr(hooks: Hooks) -> None:
    receiver = hooks.receiver(hooks.endpoint(headers={"X-A": "needle-header"}))
    assert receiver is not None
    assert receiver.secrets == (SECRET,)
    assert "needle" not in repr(receiver)
    assert "needle" not in repr(EndpointChanges(headers={"X-A": "needle"}))
    assert not {"secret", "secrets", "headers"} & {field.name for field in fields(Endpoint)}


def test_secrets_are_sealed_where_they_are(hooks: Hooks) -> None:
    hooks.endpoint(headers={"X-A": "needle-header"})
    row = hooks.store.read(lambda conn, _: conn.execute(select(tables.webhook_endpoints)).one())
    assert b"needle" not in row.secret + row.headers


@pytest.mark.parametrize("column", ["secret", "headers"])
def test_secret_of_another_endpoint_does_not_open(hooks: Hooks, column: str) -> None:
    one, other = (hooks.endpoint(headers={"a": name}) for name in "xy")
    table = tables.webhook_endpoints
    stolen = select(table.c[column]).where(table.c.id == other.id).scalar_subquery()
    hooks.store.call(lambda tx: tx.conn.execute(update(table).where(table.c.id == one.id).values({column: stolen})))
    with pytest.raises(SealBroken):
        hooks.receiver(one)


def test_secret_put_back_as_the_previous_one_does_not_open(hooks: Hooks) -> None:
    made = hooks.endpoint()
    table = tables.webhook_endpoints
    hooks.store.call(
        lambda tx: tx.conn.execute(update(table).values(previous_secret=table.c.secret, previous_secret_until=NOW + 1))
    )
    with pytest.raises(SealBroken):
        hooks.receiver(made)


def test_nothing_secret_of_webhooks_is_in_the_files(sqlite_store: Store, sqlite_path: Path) -> None:
    hooks = Hooks(sqlite_store)
    made = hooks.endpoint(headers={"X-A": "needle-header"})
    rotation = {"secret": "needle-second", "has_custom_secret": True, "overlap_ms": DAY_MS}
    hooks.store.call(lambda tx: webhooks.rotate_secret(tx, made.id, **rotation, **hooks.me))
    hooks.write(told("needle-event"))
    hooks.settle(arrived(hooks.due(made)[0], response=b"needle-response"))
    stored = b"".join(file.read_bytes() for file in sqlite_path.parent.iterdir())
    assert made.id.encode() in stored, "ids are not secret, so this is the right file"
    assert b"needle" not in stored


# --- the revision ---------------------------------------------------------------------------------------------------


def revision(store: Store) -> int:
    found: int = store.read(lambda conn, _: conn.execute(select(tables.log_head.c.webhook_revision)).scalar_one())
    return found


def test_every_change_moves_the_revision_on(hooks: Hooks) -> None:
    seen = [revision(hooks.store)]

    def moved() -> None:
        seen.append(revision(hooks.store))
        assert seen[-1] > seen[-2]

    made = hooks.endpoint()
    moved()
    hooks.patch(made, url="https://b.example/")
    moved()
    rotation = {"secret": "second", "has_custom_secret": False, "overlap_ms": 0}
    hooks.store.call(lambda tx: webhooks.rotate_secret(tx, made.id, **rotation, **hooks.me))
    moved()
    hooks.store.call(lambda tx: webhooks.disable(tx, made.id, DisabledReason.GONE))
    moved()
    hooks.store.call(lambda tx: webhooks.delete(tx, made.id, **hooks.me))
    moved()
    hooks.write(told())
    assert revision(hooks.store) == seen[-1], "an event alone changes no endpoint"


def test_change_that_is_undone_leaves_the_revision(hooks: Hooks) -> None:
    before = revision(hooks.store)

    def undone(tx: Any) -> None:
        webhooks.create(
            tx, url="https://a.example/", events=["*"], headers={}, secret="s", has_custom_secret=False, **hooks.me
        )
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        hooks.store.call(undone)
    assert revision(hooks.store) == before


def test_customers_event_needs_the_customer_and_no_instance(hooks: Hooks) -> None:
    event = hooks.store.call(
        lambda tx: tx.append_customer_event(hooks.customer.id, Mode.TEST, "webhook.test", {"n": 1}, expires_at=NOW)
    )
    assert read_events(hooks.store, hooks.customer.id, mode=Mode.TEST) == [event]
    assert (event.instance_id, event.seq, event.expires_at) == (None, None, NOW)
    assert hooks.events() == []
    with pytest.raises(StoreError):
        hooks.store.call(lambda tx: tx.append_customer_event("cust_none", Mode.LIVE, "x", {}))


def test_head_counts_on_for_another_process(hooks: Hooks, open_store: Callable[[], Store]) -> None:
    """Who keeps endpoints in memory hears of those that another process made."""
    other = open_store()
    hooks.write(told("before"))
    other.call(
        lambda tx: webhooks.create(
            tx, url="https://a.example/", events=["*"], headers={}, secret="s", has_custom_secret=False,
            customer_id=hooks.customer.id, mode=Mode.LIVE, origin=ORIGIN,
        )
    )  # fmt: skip
    hooks.write(told("after"))
    (delivery,) = hooks.shown()
    assert delivery.event_id == hooks.events()[-1].id
    assert hooks.store.read(lambda conn, _: conn.execute(text("SELECT count(*) FROM log_head")).scalar_one()) == 1
