"""A world with webhook endpoints in it, and short ways to say what became of deliveries."""

from __future__ import annotations

from typing import Any

from tests.store.world import NOW, ORIGIN, World
from whatisup.store import (
    Attempt,
    Delivery,
    DeliveryStatus,
    Due,
    Endpoint,
    EndpointChanges,
    Lane,
    Mode,
    Receiver,
    SettleOutcome,
    audit,
    deliveries,
    webhooks,
)

SECRET = "whsec_needle"


class Hooks(World):
    """One customer, one instance, and endpoints as a test asks for them."""

    @property
    def mine(self) -> dict[str, Any]:
        return {"customer_id": self.customer.id, "mode": Mode.LIVE}

    @property
    def me(self) -> dict[str, Any]:
        return {**self.mine, "origin": ORIGIN}

    def endpoint(self, *events: str, **how: Any) -> Endpoint:
        fields: dict[str, Any] = {
            "url": "https://hooks.example/in?token=1", "headers": {}, "secret": SECRET, "has_custom_secret": False
        }  # fmt: skip
        values = self.me | fields | how
        return self.store.call(lambda tx: webhooks.create(tx, events=events or ("*",), **values))

    def find(self, endpoint: Endpoint) -> Endpoint:
        found = self.store.read(webhooks.get, endpoint.id, endpoint.customer_id, endpoint.mode)
        assert found is not None
        return found

    def patch(self, endpoint: Endpoint, **changes: Any) -> Endpoint:
        after = self.store.call(
            lambda tx: webhooks.patch(tx, endpoint.id, changes=EndpointChanges(**changes), **self.me)
        )
        assert after is not None
        return after

    def receiver(self, endpoint: Endpoint, now: int = NOW) -> Receiver | None:
        return self.store.read(webhooks.receivers, [endpoint.id], now).get(endpoint.id)

    def shown(self, **filters: Any) -> list[Delivery]:
        """Deliveries in the order of the queue."""
        asked = self.mine | {"limit": 1000} | filters
        return self.store.read(lambda conn, vault: deliveries.page(conn, vault, **asked))[0][::-1]

    def due(self, endpoint: Endpoint, **lane: Any) -> list[Due]:
        """What waits in any lane of an endpoint, lane by lane."""
        lanes: list[Lane] = self.store.read(deliveries.lanes, endpoint.id)
        wanted = [one for one in lanes if all(getattr(one, name) == value for name, value in lane.items())]
        return [due for one in wanted for due in self.store.read(deliveries.due, one)]

    def settle(self, *attempts: Attempt, **rules: Any) -> SettleOutcome:
        return self.store.call(lambda tx: deliveries.settle(tx, attempts, **rules))

    def audited(self) -> list[tuple[str, Any, Any]]:
        """What was done to webhooks, oldest first: action, before, after."""
        entries, _ = self.store.read(
            lambda conn, vault: audit.page(conn, vault, customer_id=self.customer.id, limit=1000)
        )
        return [(e.action, e.before, e.after) for e in reversed(entries) if e.action.startswith("webhook")]


def arrived(due: Due, at: int = NOW, **how: Any) -> Attempt:
    """The receiver took it."""
    return Attempt(due, at, 40, 200, None, how.pop("response", b"ok"), DeliveryStatus.SUCCESS, **how)


def failed(
    due: Due, at: int = NOW, *, status: int | None = 500, again_at: int | None = None, late: bool = False
) -> Attempt:
    """The receiver did not take it; with `again_at` it is tried again."""
    end = DeliveryStatus.FAILED if again_at is None else DeliveryStatus.RETRYING
    error = "timeout" if status is None else f"http_{status}"
    return Attempt(due, at, 40, status, error, b"no", end, again_at, late)


def beside(world: World) -> Hooks:
    """The same world with endpoints in it."""
    hooks = Hooks.__new__(Hooks)
    hooks.store, hooks.customer, hooks.instance = world.store, world.customer, world.instance
    return hooks
