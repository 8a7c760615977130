"""Customers and the audit log about them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.store.world import NOW, ORIGIN, World
from whatisup.errors import BadCursor
from whatisup.store import AuditEntry, Customer, Mode, RateLimit, Tx, audit, customers, instances

LIMIT = RateLimit(10, 2.5)


def patch(world: World, **changes: Any) -> Customer | None:
    return world.store.call(lambda tx: customers.patch(tx, world.customer.id, origin=ORIGIN, **changes))


def entries(world: World, **filters: Any) -> list[AuditEntry]:
    return world.store.read(partial(audit.page, customer_id=world.customer.id, **filters))[0]


def test_limits_are_kept_by_mode(world: World) -> None:
    patch(world, rate_limits={Mode.LIVE: LIMIT})
    patch(world, rate_limits={Mode.TEST: RateLimit(1, 0)})
    found = world.store.read(customers.get, world.customer.id)
    assert found is not None
    assert found.rate_limits == {Mode.LIVE: LIMIT, Mode.TEST: RateLimit(1, 0)}
    changed = patch(world, rate_limits={Mode.LIVE: None})
    assert changed is not None
    assert changed.rate_limits == {Mode.TEST: RateLimit(1, 0)}
    assert changed == world.store.read(customers.get, world.customer.id)


def test_change_is_on_record_with_before_and_after(world: World) -> None:
    patch(world, name="other", rate_limits={Mode.LIVE: LIMIT})
    entry = entries(world, action="customer.updated")[0]
    assert entry.before == {"name": world.customer.name, "rate_limits": {}}
    assert entry.after == {"name": "other", "rate_limits": {"live": {"burst": 10, "per_s": 2.5}}}
    patch(world, name="other")
    assert len(entries(world, action="customer.updated")) == 1


def test_unknown_customer_is_not_changed(world: World) -> None:
    assert world.store.call(lambda tx: customers.patch(tx, "cust_other", origin=ORIGIN, name="x")) is None


def test_pages_show_every_customer_once_newest_first(world: World) -> None:
    def make(tx: Tx) -> list[str]:
        return [customers.create(tx, name="c", origin=ORIGIN, now=NOW + at).id for at in (1, 1, 2)]

    made = world.store.call(make)
    seen: list[str] = []
    cursor = None
    while True:
        rows, cursor = world.store.read(partial(customers.page, limit=2, cursor=cursor))
        seen += [row.id for row in rows]
        if cursor is None:
            break
    assert seen[:3] == [made[2], *sorted(made[:2], reverse=True)]
    assert len(seen) == len(set(seen))
    assert world.customer.id in seen


def test_audit_is_filtered_by_action_target_time_and_mode(world: World) -> None:
    def act(tx: Tx) -> str:
        for at, action in ((10, "instance.started"), (20, "instance.stopped"), (30, "instanceXstarted")):
            tx.append_audit(
                customer_id=world.customer.id,
                mode=Mode.LIVE,
                origin=ORIGIN,
                action=action,
                target_type="instance",
                target_id="inst_x",
                at=NOW + at,
            )
        row = instances.create(
            tx, customer_id=world.customer.id, mode=Mode.TEST, name="t", metadata={}, origin=ORIGIN, now=NOW
        )
        return row.id

    test_id = world.store.call(act)

    def actions(**filters: Any) -> list[str]:
        return [entry.action for entry in entries(world, **filters)]

    assert actions(action="instance.st") == ["instance.stopped", "instance.started"]
    assert actions(action="instance_st") == []
    assert actions(target_id="inst_x", since=NOW + 20) == ["instanceXstarted", "instance.stopped"]
    assert actions(instance_id="inst_x", since=NOW + 10, until=NOW + 30) == ["instance.stopped", "instance.started"]
    assert actions(target_id=test_id, mode=Mode.LIVE) == []
    assert "customer.created" in actions(mode=Mode.LIVE)
    assert "customer.created" in actions(mode=Mode.TEST)


def test_audit_pages_go_on_after_an_entry_of_the_customers_own(world: World) -> None:
    patch(world, name="a")
    patch(world, name="b")
    page = partial(audit.page, customer_id=world.customer.id, action="customer.updated", limit=1)
    first, cursor = world.store.read(page)
    second, end = world.store.read(partial(page, cursor=cursor))
    assert [entry.after for entry in (*first, *second)] == [{"name": "b"}, {"name": "a"}]
    assert end is None
    with pytest.raises(BadCursor):
        world.store.read(partial(audit.page, customer_id="cust_other", cursor=cursor))
