"""The smallest world a store test needs: a customer, an instance, and short ways to say things about them."""

from __future__ import annotations

from typing import Any

from whatisup.lifecycle import State
from whatisup.store import (
    AppendEvent,
    Call,
    Committed,
    Customer,
    Event,
    Instance,
    Mode,
    NewAuth,
    Op,
    Origin,
    PutAuth,
    SetStatus,
    Store,
    Unit,
    auth,
    customers,
    events,
    instances,
)

NOW = 1_700_000_000_000
ORIGIN = Origin("operator", request_id="req_test")
CONNECTED = SetStatus(State.CONNECTED, has_account=True)


def make_customer(store: Store, name: str = "Ada") -> Customer:
    return store.call(lambda tx: customers.create(tx, name=name, origin=ORIGIN, now=NOW))


def make_instance(store: Store, customer: Customer, mode: Mode = Mode.LIVE, name: str = "primary") -> Instance:
    return store.call(
        lambda tx: instances.create(
            tx, customer_id=customer.id, mode=mode, name=name, metadata={}, origin=ORIGIN, now=tx.now
        )
    )


def told(text: str = "x", **more: Any) -> AppendEvent:
    """An event that tells `text`."""
    return AppendEvent("instance.status", {"text": text}, NOW, **more)


class World:
    """A store with one customer and one instance."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.customer = make_customer(store)
        self.instance = make_instance(store, self.customer)

    @property
    def id(self) -> str:
        return self.instance.id

    def another(self, **how: Any) -> Instance:
        return make_instance(self.store, self.customer, **how)

    def unit(self, *ops: Op, instance_id: str | None = None, incarnation: int = 0) -> Unit:
        return Unit(instance_id or self.id, incarnation, ops)

    def write(self, *ops: Op, instance_id: str | None = None, incarnation: int = 0) -> Committed:
        """Commit one unit, and fail if it is refused."""
        (result,) = self.store.commit([self.unit(*ops, instance_id=instance_id, incarnation=incarnation)])
        if isinstance(result, Exception):
            raise result
        assert isinstance(result, Committed)
        return result

    def pair(self, instance_id: str | None = None, **state: bytes) -> None:
        """Give an instance keys and some auth state."""
        self.write(NewAuth(), *(PutAuth("own", key, value) for key, value in state.items()), instance_id=instance_id)

    def auth(self, key: str, instance_id: str | None = None, kind: str = "own") -> bytes | None:
        return self.store.read(auth.get, instance_id or self.id, kind, key)

    def row(self, instance_id: str | None = None) -> Instance:
        found = self.store.read(
            lambda conn, vault: instances.get(conn, vault, instance_id or self.id, with_deleted=True)
        )
        assert found is not None
        return found

    def bump(self, instance_id: str | None = None) -> Instance:
        return self.store.call(instances.bump_incarnation, instance_id or self.id)

    def events(self, after: int = 0, limit: int = 1000, **filters: Any) -> list[Event]:
        return read_events(self.store, self.customer.id, after=after, limit=limit, **filters)


def read_events(store: Store, customer_id: str, *, after: int = 0, limit: int = 1000, **filters: Any) -> list[Event]:
    filters.setdefault("mode", Mode.LIVE)
    return store.read(
        lambda conn, vault: events.page(conn, vault, customer_id=customer_id, after=after, limit=limit, **filters)
    )


def boom(_tx: object) -> None:
    raise ZeroDivisionError("a bug in a call")


BUG = Call(boom)
