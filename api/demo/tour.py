"""The running tour: what every scene works with, and how scenes are played one after the other.

Rule: a scene holds or fails by what the API and the event log say; nothing is taken from inside the gateway.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

from api.demo.client import Client, Json, Refused, Unreachable
from api.demo.gateway import HOST, Gateway, GatewayFailed
from api.demo.journal import Journal, Seen
from api.demo.stage import Result, Stage

QUICK_S = 30.0


class SceneFailed(Exception):
    """Something did not happen, or should not have."""


@dataclass(slots=True)
class Tour:
    """The running tour: the gateway it drives, what it has seen so far, and the number it is about."""

    gateway: Gateway
    stage: Stage
    api: Client = field(init=False)
    journal: Journal = field(init=False)
    started_at: float = field(default_factory=trio.current_time)
    instance_id: str = ""
    number: str = ""

    async def open(self, nursery: trio.Nursery) -> None:
        """Start the gateway and follow its event log."""
        with self.stage.waiting("starting the gateway and its sandbox"):
            await self.gateway.start()
            await self.gateway.wait_ready()
        self.api = Client(HOST, self.gateway.port, await self.gateway.test_key())
        self.journal = Journal(self.api, self._show, names="instance.*,message.*")
        await nursery.start(self.journal.follow)

    def _show(self, seen: Seen) -> None:
        """Print a transition as it comes."""
        if seen.name != "instance.status":
            return
        data = seen.data
        why = " · ".join(data[name] for name in ("reason", "detail") if data[name])
        clock = self.stage.colour(f"{seen.at - self.started_at:6.1f} s", "dim")
        move = f"{data['previous_status']} -> {self.stage.colour(data['status'], 'cyan')}"
        self.stage.remark(f"{clock}  {move}" + (f"   ({why})" if why else ""))

    async def expect_status(self, status: str, *, since: int, within_s: float = QUICK_S) -> Seen:
        """Wait for the transition to `status`, or fail the scene."""
        with trio.move_on_after(within_s), self.stage.waiting(f"waiting for {status}"):
            return await self.journal.first(lambda seen: seen.is_status(status), since=since)
        raise SceneFailed(f"no transition to {status} within {within_s:g} s")

    async def instance(self) -> Json:
        """The instance as the API shows it."""
        return await self.api.call("GET", f"/v1/instances/{self.instance_id}")

    async def act(self, action: str, body: Json | None = None) -> Json:
        """POST to a route of the instance."""
        return await self.api.call("POST", f"/v1/instances/{self.instance_id}/{action}", body or {})

    async def phone(self, action: str) -> Json:
        """Let the simulated phone do something about our instance."""
        return await self.api.call(
            "POST", f"/v1/sandbox/phones/{self.number}/{action}", {"instance_id": self.instance_id}
        )

    async def kill_gateway(self) -> float:
        """SIGKILL to the gateway, and a new one on the same store; the seconds until it serves again."""
        killed_at = trio.current_time()
        await self.gateway.kill()
        await self.gateway.start()
        with self.stage.waiting("waiting until the gateway serves again"):
            await self.gateway.wait_ready()
        return trio.current_time() - killed_at

    async def resumed(self, since: int, *, notice_s: float = QUICK_S) -> tuple[float, str]:
        """Wait until the instance noticed a loss and is back; the seconds in between, and a remark."""
        asked_at = trio.current_time()
        lost = await self.expect_status("reconnecting", since=since, within_s=notice_s)
        back = await self.expect_status("connected", since=since, within_s=60.0)
        await self.check_connected()
        noticed_s = max(0.0, lost.at - asked_at)
        return back.at - lost.at, f"noticed after {noticed_s:.1f} s"

    async def check_connected(self) -> None:
        """The API must say what the events said."""
        row = await self.instance()
        check(row["status"] == "connected", f"the API says {row['status']}")
        check(row["phone_number"] == self.number, "the API shows another phone number")


def check(holds: bool, otherwise: str) -> None:
    """Fail the scene unless `holds`."""
    if not holds:
        raise SceneFailed(otherwise)


Outcome = tuple[float | None, str]


@dataclass(frozen=True, slots=True)
class Scene:
    """A heading, a sentence about what is going to happen, and the play."""

    title: str
    about: str
    play: Callable[[Tour], Awaitable[Outcome]]
    slug: str


async def play(tour: Tour, scenes: Sequence[Scene]) -> list[Result]:
    """Play the scenes in order; after one that failed the others are not played, since each builds on the last."""
    results: list[Result] = []
    for number, scene in enumerate(scenes, 1):
        tour.stage.heading(f"{number}/{len(scenes)}  {scene.title}")
        tour.stage.remark(scene.about)
        try:
            seconds, remark = await scene.play(tour)
        except (SceneFailed, Refused, Unreachable, GatewayFailed) as error:
            tour.stage.remark(tour.stage.colour(f"failed: {error}", "red"))
            results.append(Result(scene.title, "failed", None, str(error)))
            return results + [Result(left.title, "not played") for left in scenes[number:]]
        tour.stage.remark(tour.stage.colour("ok", "green") + (f"  {seconds:.2f} s" if seconds is not None else ""))
        results.append(Result(scene.title, "ok", seconds, remark))
    return results
