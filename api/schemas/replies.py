"""What clients get: one Struct per shape, and how it is made from what the store and the sandbox return.

Rule: every field of a shape is always present, null where it has no value.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

from api.schemas.qr import data_url
from api.schemas.times import iso, iso_or_none
from whatisup import control
from whatisup.lifecycle import Reason, State
from whatisup.store import Event, Instance, Mode

API_VERSION = "2026-04"

Time: TypeAlias = Annotated[str, Meta(description="ISO 8601, UTC.", extra_json_schema={"format": "date-time"})]


class Reply(Struct, frozen=True, kw_only=True):
    """A JSON object sent to a client."""


class ErrorBody(Reply, frozen=True, omit_defaults=True):
    """What went wrong: a stable code, a sentence, and details that depend on the code."""

    code: str
    message: str
    details: dict[str, Any] = {}


class ErrorEnvelope(Reply, frozen=True):
    """Every 4xx and 5xx."""

    error: ErrorBody
    request_id: str


class InstanceBody(Reply, frozen=True):
    """One phone number and its session."""

    id: str
    customer_id: str
    name: str
    phone_number: Annotated[str, Meta(description="Digits, without +.")] | None
    status: State
    last_seen_at: Time | None
    metadata: dict[str, Any]
    created_at: Time
    updated_at: Time
    mode: Mode
    reason: Annotated[Reason, Meta(description="Why it is not connected.")] | None
    detail: Annotated[str, Meta(description="The exact cause, as a slug.")] | None
    expires_at: Annotated[Time, Meta(description="When a temporary ban ends.")] | None

    @classmethod
    def of(cls, row: Instance) -> InstanceBody:
        """Render a stored instance."""
        return cls(**_instance_fields(row))


class LoggedOutInstance(InstanceBody, frozen=True):
    """An instance after logout, and whether WhatsApp confirmed that its device is unlinked."""

    unlinked: bool

    @classmethod
    def after_logout(cls, row: Instance, *, unlinked: bool) -> LoggedOutInstance:
        """Render a stored instance and the outcome of its logout."""
        return cls(**_instance_fields(row), unlinked=unlinked)


def _instance_fields(row: Instance) -> dict[str, Any]:
    return {
        "id": row.id,
        "customer_id": row.customer_id,
        "name": row.name,
        "phone_number": row.phone_number,
        "status": row.status,
        "last_seen_at": iso_or_none(row.last_seen_at),
        "metadata": row.metadata,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at),
        "mode": row.mode,
        "reason": row.reason,
        "detail": row.detail,
        "expires_at": iso_or_none(row.expires_at),
    }


class InstancePage(Reply, frozen=True):
    """Instances, newest first."""

    data: list[InstanceBody]
    next_cursor: str | None


class QrBody(Reply, frozen=True):
    """A QR to scan: as a picture and as the text in it."""

    qr: Annotated[str, Meta(description="A PNG as a data: URL.")]
    code: Annotated[str, Meta(description="The text inside the QR, for clients that draw their own.")]
    status: State
    expires_at: Time

    @classmethod
    def of(cls, code: str, expires_at: int) -> QrBody:
        """Render a QR on offer."""
        return cls(qr=data_url(code), code=code, status=State.QR_REQUIRED, expires_at=iso(expires_at))


class PairCodeBody(Reply, frozen=True):
    """A linking code to type into the phone."""

    code: Annotated[str, Meta(description="As WhatsApp shows it: ABCD-EFGH.")]
    status: State
    expires_at: Time

    @classmethod
    def of(cls, code: str, expires_at: int) -> PairCodeBody:
        """Render a linking code; a dash is put in the middle."""
        plain = code.replace("-", "")
        return cls(code=f"{plain[:4]}-{plain[4:]}", status=State.QR_REQUIRED, expires_at=iso(expires_at))


class EventEnvelope(Reply, frozen=True):
    """One event, the same everywhere it is shown."""

    event: str
    event_id: str
    api_version: str
    instance_id: str | None
    occurred_at: Time
    data: (
        Annotated[dict[str, Any], Meta(description="By `event`, see x-events; null once its content has expired.")]
        | None
    )

    @classmethod
    def of(cls, event: Event) -> EventEnvelope:
        """Render a stored event; a QR's picture is drawn here, since only its text is stored."""
        data = event.data
        if data is not None and event.type == "qr.updated" and "code" in data:
            data = {"qr": data_url(data["code"]), **data}
        return cls(
            event=event.type,
            event_id=event.id,
            api_version=API_VERSION,
            instance_id=event.instance_id,
            occurred_at=iso(event.occurred_at),
            data=data,
        )


class StreamToken(Reply, frozen=True):
    """Opens the event stream of the key that asked for it, until `expires_at` or the key's own end."""

    token: str
    expires_at: Time


class EventPage(Reply, frozen=True):
    """Events, oldest first; `next_cursor` is null where the log ends for now."""

    data: list[EventEnvelope]
    next_cursor: str | None


class Check(Reply, frozen=True, omit_defaults=True):
    """One part of the system's health."""

    ok: bool
    detail: str | None = None
    lag_s: float | None = None
    queued: int | None = None
    age_s: float | None = None
    pid: int | None = None


class Liveness(Reply, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(Reply, frozen=True):
    """Whether work may be sent here: totals only."""

    status: Literal["ready", "draining", "unhealthy"]
    checks: dict[str, Check]
    sessions: Annotated[dict[State, int], Meta(description="Instances by status.")]


class PhoneDevice(Reply, frozen=True):
    """A device that is linked to a simulated phone."""

    device: int
    is_connected: bool
    linked_at: Time


class PhoneBody(Reply, frozen=True):
    """A simulated phone of the sandbox."""

    number: str
    name: str | None
    created_at: Time
    devices: list[PhoneDevice]

    @classmethod
    def of(cls, account: control.Account) -> PhoneBody:
        """Render a sandbox account."""
        return cls(
            number=account.number,
            name=account.name,
            created_at=iso(account.created_at),
            devices=[
                PhoneDevice(device=one.device, is_connected=one.is_connected, linked_at=iso(one.linked_at))
                for one in account.devices
            ],
        )


class PhonePage(Reply, frozen=True):
    """Simulated phones of the customer, oldest first."""

    data: list[PhoneBody]
    next_cursor: str | None


class ScanBody(Reply, frozen=True):
    """The phone linked the instance, as this device."""

    number: str
    device: int
    instance_id: str
    method: Literal["qr", "linking_code"]


class FaultBody(Reply, frozen=True):
    """An armed fault."""

    id: str
    name: str
    number: str | None
    device: int | None
    times_left: int | None
    expires_in_s: float | None
    hits: int
    params: dict[str, Any]


class FaultList(Reply, frozen=True):
    """All armed faults on the customer's phones, oldest first."""

    data: list[FaultBody]
    next_cursor: str | None = None
