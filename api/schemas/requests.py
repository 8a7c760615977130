"""What clients may send: one Struct per body and per query string, strict to the last field."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from api.schemas.parse import Invalid, check_metadata, check_text
from whatisup.control import FAULT_NAMES, NO_PARAMS, FaultParams, Seconds

MAX_METADATA_BYTES = 16 * 1024
MAX_CURSOR = 200

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, description="A label for people; not unique.")]
Metadata: TypeAlias = Annotated[dict[str, Any], Meta(description="Yours to fill: at most 16 KiB as JSON.")]
PhoneNumber: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^\+?[1-9][0-9]{6,14}$(?!\n)",
        description="An international number in digits; a leading + is forgiven.",
    ),
]
SandboxNumber: TypeAlias = Annotated[
    str, Meta(pattern=r"^999[0-9]{9}$(?!\n)", max_length=12, description="A sandbox number: 999 and nine more digits.")
]
InstanceId: TypeAlias = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_]+$(?!\n)", max_length=64, description="An instance's id (`inst_…`).")
]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=100, description="At most this many rows.")]
Cursor: TypeAlias = Annotated[str, Meta(max_length=MAX_CURSOR, description="`next_cursor` of the page before.")]


class Request(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A body or a query string: strict."""


class Nothing(Request, frozen=True):
    """No body, or an empty object."""


class CreateInstance(Request, frozen=True):
    """A new instance; no socket is spent on it before its first QR or linking code."""

    name: Name
    metadata: Metadata = {}

    def __post_init__(self) -> None:
        check_text("name", self.name)
        check_metadata("metadata", self.metadata, MAX_METADATA_BYTES)


class PatchInstance(Request, frozen=True):
    """The fields to change; `metadata` is replaced as a whole."""

    name: Name | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.name is UNSET and self.metadata is UNSET:
            raise Invalid("nothing to change: send `name`, `metadata` or both")
        if self.name is not UNSET:
            check_text("name", self.name)
        if self.metadata is not UNSET:
            check_metadata("metadata", self.metadata, MAX_METADATA_BYTES)


class PairCodeRequest(Request, frozen=True):
    """The number of the phone that will type the linking code."""

    phone_number: PhoneNumber

    def __post_init__(self) -> None:
        check_text("phone_number", self.phone_number)  # the pattern forgives a line feed at the end


class CreatePhone(Request, frozen=True):
    """A new simulated phone; without `number` a free one is taken."""

    number: SandboxNumber | None = None
    name: Annotated[str, Meta(min_length=1, max_length=100, description="Its push name.")] | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            check_text("name", self.name)


class PhoneAction(Request, frozen=True):
    """The instance whose QR or linking code the phone answers, or which it removes from its linked devices."""

    instance_id: InstanceId


class CreateFault(Request, frozen=True):
    """Arm a fault on one phone (`number`) or on one instance's connection: `times` rounds (1) or for `seconds`."""

    name: Annotated[
        str, Meta(max_length=32, description="What goes wrong.", extra_json_schema={"enum": list(FAULT_NAMES)})
    ]
    number: SandboxNumber | None = None
    instance_id: InstanceId | None = None
    times: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    seconds: Seconds | None = None
    params: FaultParams = NO_PARAMS

    def __post_init__(self) -> None:
        if self.name not in FAULT_NAMES:
            raise Invalid(f"no fault has this name; there are {', '.join(FAULT_NAMES)}", field="name")
        if (self.number is None) == (self.instance_id is None):
            raise Invalid("send `number` or `instance_id`, and not both", field="number")
        if self.times is not None and self.seconds is not None:
            raise Invalid("`times` and `seconds` exclude each other", field="times")


class NoQuery(Request, frozen=True):
    """No query parameters."""


class PageQuery(Request, frozen=True):
    """Where in a list to go on, and how far."""

    limit: Limit = 50
    cursor: Cursor | None = None


class QrQuery(Request, frozen=True):
    """How long to wait for a QR, in seconds."""

    wait_s: Annotated[float, Meta(ge=0, le=10, description="Wait at most this many seconds for a QR.")] = 10.0


class EventsQuery(Request, frozen=True):
    """Which events, from where on; `token` is for clients that cannot set headers."""

    after: Annotated[str, Meta(max_length=MAX_CURSOR, description="Go on after this event id.")] | None = None
    cursor: Cursor | None = None
    limit: Limit = 50
    instance_id: InstanceId | None = None
    events: (
        Annotated[str, Meta(max_length=500, description="Comma list of names; `instance.*` and `*` are patterns.")]
        | None
    ) = None
    token: (
        Annotated[
            str,
            Meta(
                max_length=100,
                description="A stream token, where no header can be set. An API key is taken too, with a warning.",
            ),
        ]
        | None
    ) = None

    def __post_init__(self) -> None:
        if self.after is not None and self.cursor is not None:
            raise Invalid("send `after` or `cursor`, and not both", field="cursor")
