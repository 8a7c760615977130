"""What each fault does to the connection it hits: one table, name to function.

Rule: a fault does to a client what a bad day of the real server would, and nothing to its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from whatisup.control import FaultName, FaultRequest
from whatisup.jid import SERVER
from whatisup.protocol.outcomes import build_failure, build_stream_error
from whatisup.sandbox.faults import Armed, Moment, Target
from whatisup.sandbox.hub import UNKNOWN_TAG, Client, Hub, Stage
from whatisup.sandbox.pairing import Pairing
from whatisup.sandbox.refusal import Refused
from whatisup.wire import Node

Strike: TypeAlias = Callable[[Hub, Pairing, Client, Armed], None]

_LATENCY_MS: Final = 2000
_BAN_CODE: Final = 101
_BAN_S: Final = 3600
# A list of five with nothing in it but a tag.
_NO_NODE: Final = bytes.fromhex("00f80503")


def _stream_error(code: int) -> Strike:
    return lambda hub, _pairing, client, _armed: hub.end(client, build_stream_error(code))


def _replaced(hub: Hub, pairing: Pairing, client: Client, armed: Armed) -> None:
    hub.end(client, build_stream_error(conflict="replaced"))


def _removed(hub: Hub, pairing: Pairing, client: Client, armed: Armed) -> None:
    if client.companion is not None:
        hub.unlink(client.companion)


def _drop(hub: Hub, pairing: Pairing, client: Client, armed: Armed) -> None:
    hub.reset(client)


def _half_open(hub: Hub, pairing: Pairing, client: Client, armed: Armed) -> None:
    client.is_half_open = True
    client.wake()


def _slow(hub: Hub, pairing: Pairing, client: Client, armed: Armed) -> None:
    client.latency_s = (armed.request.params.latency_ms or _LATENCY_MS) / 1000
    client.latency_until = armed.until


def _garbage(hub: Hub, pairing: Pairing, client: Client, armed: Armed) -> None:
    client.session.send_garbage()
    client.wake()


def _malformed(hub: Hub, pairing: Pairing, client: Client, armed: Armed) -> None:
    client.session.send_plaintext(_NO_NODE)
    client.wake()


def _unknown_tag(hub: Hub, pairing: Pairing, client: Client, armed: Armed) -> None:
    hub.send(client, Node(UNKNOWN_TAG, {"from": SERVER, "id": client.new_id(), "t": str(hub.unix)}))


def _refs_expired(hub: Hub, pairing: Pairing, client: Client, armed: Armed) -> None:
    pairing.expire(client)


def _redeliver(hub: Hub, pairing: Pairing, client: Client, armed: Armed) -> None:
    if client.companion is not None:
        hub.repeat(client.companion)
        hub.reset(client)


STRIKES: Final[Mapping[str, Strike]] = {
    FaultName.STREAM_515: _stream_error(515),
    FaultName.STREAM_503: _stream_error(503),
    FaultName.CONFLICT_REPLACED: _replaced,
    FaultName.DEVICE_REMOVED: _removed,
    FaultName.DROP: _drop,
    FaultName.HALF_OPEN: _half_open,
    FaultName.SLOW: _slow,
    FaultName.GARBAGE: _garbage,
    FaultName.MALFORMED_NODE: _malformed,
    FaultName.UNKNOWN_TAG: _unknown_tag,
    FaultName.REFS_EXPIRED: _refs_expired,
    FaultName.REDELIVER_ALL: _redeliver,
}


def arm(hub: Hub, pairing: Pairing, request: FaultRequest) -> Armed:
    """Arm a fault, and strike with it at once where it hits live connections. Raises `Refused` (409)."""
    armed = hub.faults.arm(request, hub.clock.monotonic())
    if armed is None:
        raise Refused(409, "too_many_faults", "disarm some first")
    if armed.kind.moment is Moment.LIVE:
        hit = [
            client for client in hub.clients() if client.stage is not Stage.HANDSHAKE and armed.matches(client.target)
        ]
        if hit:
            armed.spend(len(hit))
        for client in hit:
            STRIKES[request.name](hub, pairing, client, armed)
    return armed


def strike_live(hub: Hub, pairing: Pairing, client: Client) -> None:
    """Strike a connection that has just come to life with every fault that waits for it."""
    for armed in hub.faults.strike(Moment.LIVE, client.target, hub.clock.monotonic()):
        STRIKES[armed.request.name](hub, pairing, client, armed)


def refusal(hub: Hub, target: Target) -> Node | None:
    """Return the `failure` that a fault has in store for this registration or login."""
    armed = hub.faults.strike_one(Moment.ANSWER, target, hub.clock.monotonic())
    if armed is None or armed.kind.failure is None:
        return None
    params = armed.request.params
    if armed.request.name == FaultName.TEMP_BAN:
        code = _BAN_CODE if params.code is None else params.code
        expires_in_s = _BAN_S if params.expire_s is None else params.expire_s
        return build_failure(armed.kind.failure, ban_code=code, expires_in_s=expires_in_s)
    return build_failure(armed.kind.failure)
