"""An instance's life as one table: which trigger leads from which state to which, and what becomes of the auth state.

Five machines meet here and only their sum is public: the socket, the pairing, the login, the operator's wishes and
the account on the phone. `ROWS` states every legal move; everything that affects a transition stands in this file
and nowhere else. `step` is pure and total: a trigger that a state has no row for changes nothing and says so
(`Step.is_legal`), so a late socket error can never move a stopped instance, and a command can be refused with a
reason.

A *situation* is a state plus whether an account is linked (pair-success was committed). `pending` never has one;
`connected` and `reconnecting` always do; `qr_required` and `disconnected` exist with and without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The five public states; the API's `status` is this value, unchanged."""

    PENDING = "pending"
    QR_REQUIRED = "qr_required"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    DISCONNECTED = "disconnected"


class Trigger(StrEnum):
    """Everything that may move an instance; past tense for facts, imperative for wishes."""

    # wishes
    PAIR = "pair"
    START = "start"
    STOP = "stop"
    LOG_OUT = "log_out"
    DELETE = "delete"
    # pairing
    ACCOUNT_LINKED = "account_linked"
    PAIRING_GAVE_UP = "pairing_gave_up"
    # the connection, transient
    LOGIN_SUCCEEDED = "login_succeeded"
    CONNECTION_LOST = "connection_lost"
    SERVER_UNAVAILABLE = "server_unavailable"
    RESTART_REQUIRED = "restart_required"
    CERTIFICATE_REFUSED = "certificate_refused"
    LOGIN_REFUSED_ONCE = "login_refused_once"
    PROCESS_RESTARTED = "process_restarted"
    ACTOR_CRASHED = "actor_crashed"
    # the connection, final
    LOGGED_OUT = "logged_out"
    DEVICE_REMOVED = "device_removed"
    FORCED_LOGOUT = "forced_logout"
    ACCOUNT_LOCKED = "account_locked"
    BANNED = "banned"
    REPLACED = "replaced"
    TEMP_BANNED = "temp_banned"
    CLIENT_OUTDATED = "client_outdated"
    BAD_USER_AGENT = "bad_user_agent"
    CONNECT_FAILURE = "connect_failure"
    WRONG_SERVER = "wrong_server"
    BAD_CERTIFICATE = "bad_certificate"
    # named timers
    BAN_EXPIRED = "ban_expired"
    VERSION_CHANGED = "version_changed"


class Auth(StrEnum):
    """What a move does to the auth state, in the same transaction as the status."""

    KEPT = "kept"
    NEW = "new"
    WIPED = "wiped"


class Reason(StrEnum):
    """Why a session is not connected, in the four words that customers' code switches on."""

    NETWORK = "network"
    LOGOUT = "logout"
    SESSION_INVALIDATED = "session_invalidated"
    KICKED_OTHER_DEVICE = "kicked_other_device"


@dataclass(frozen=True, slots=True)
class Situation:
    """A state and whether an account is linked: what `step` decides on."""

    state: State
    has_account: bool

    def __str__(self) -> str:
        if self.state in (State.QR_REQUIRED, State.DISCONNECTED):
            return f"{self.state} {'with' if self.has_account else 'without'} account"
        return str(self.state)


PENDING = Situation(State.PENDING, has_account=False)
OFFERING = Situation(State.QR_REQUIRED, has_account=False)
LINKED = Situation(State.QR_REQUIRED, has_account=True)
CONNECTED = Situation(State.CONNECTED, has_account=True)
RECONNECTING = Situation(State.RECONNECTING, has_account=True)
DISCONNECTED = Situation(State.DISCONNECTED, has_account=True)
UNLINKED = Situation(State.DISCONNECTED, has_account=False)

SITUATIONS: tuple[Situation, ...] = (PENDING, OFFERING, LINKED, CONNECTED, RECONNECTING, DISCONNECTED, UNLINKED)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: any of `triggers`, in any of `sources`, leads to `target`."""

    sources: tuple[Situation, ...]
    triggers: tuple[Trigger, ...]
    target: Situation
    auth: Auth


T = Trigger
_TRANSIENT = (T.CONNECTION_LOST, T.SERVER_UNAVAILABLE, T.RESTART_REQUIRED)
_REBIRTH = (T.PROCESS_RESTARTED, T.ACTOR_CRASHED)
_WIPING = (T.LOGGED_OUT, T.DEVICE_REMOVED, T.FORCED_LOGOUT, T.ACCOUNT_LOCKED, T.BANNED)
_KEEPING = (T.REPLACED, T.TEMP_BANNED, T.CLIENT_OUTDATED, T.BAD_USER_AGENT, T.CONNECT_FAILURE, T.WRONG_SERVER)

ROWS: tuple[Row, ...] = (
    Row((PENDING, UNLINKED), (T.PAIR,), OFFERING, Auth.NEW),
    # Pairing, no account yet. A lost socket is one more try; who gives up is the actor, by PAIRING_GAVE_UP.
    Row((OFFERING,), (T.PAIR, *_TRANSIENT), OFFERING, Auth.KEPT),
    Row((OFFERING,), (T.PAIRING_GAVE_UP, T.STOP, T.LOG_OUT, *_REBIRTH), PENDING, Auth.WIPED),
    Row(
        (OFFERING,),
        (*_WIPING, *_KEEPING, T.LOGIN_REFUSED_ONCE, T.CERTIFICATE_REFUSED, T.BAD_CERTIFICATE),
        UNLINKED,
        Auth.WIPED,
    ),
    Row((OFFERING,), (T.ACCOUNT_LINKED,), LINKED, Auth.KEPT),
    # An account is linked and a login is under way or done.
    Row((LINKED, RECONNECTING), (T.LOGIN_SUCCEEDED,), CONNECTED, Auth.KEPT),
    Row(
        (LINKED, CONNECTED, RECONNECTING),
        (*_TRANSIENT, *_REBIRTH, T.LOGIN_REFUSED_ONCE, T.CERTIFICATE_REFUSED),
        RECONNECTING,
        Auth.KEPT,
    ),
    Row((LINKED, CONNECTED, RECONNECTING), _WIPING, UNLINKED, Auth.WIPED),
    Row((LINKED, CONNECTED, RECONNECTING), (*_KEEPING, T.BAD_CERTIFICATE, T.STOP), DISCONNECTED, Auth.KEPT),
    # A person, or a named timer, acts.
    Row((DISCONNECTED,), (T.START, T.BAN_EXPIRED, T.VERSION_CHANGED), RECONNECTING, Auth.KEPT),
    Row((LINKED, CONNECTED, RECONNECTING, DISCONNECTED), (T.LOG_OUT,), UNLINKED, Auth.WIPED),
    Row(SITUATIONS, (T.DELETE,), UNLINKED, Auth.WIPED),
)


def _expand(rows: tuple[Row, ...]) -> Iterator[tuple[tuple[Situation, Trigger], tuple[Situation, Auth]]]:
    for row in rows:
        for source in row.sources:
            for trigger in row.triggers:
                yield (source, trigger), (row.target, row.auth)


TRANSITIONS: Mapping[tuple[Situation, Trigger], tuple[Situation, Auth]] = dict(_expand(ROWS))

# `detail` where the trigger's own name is not the public slug.
_DETAILS: Mapping[Trigger, str] = {
    T.DEVICE_REMOVED: "logged_out",
    T.FORCED_LOGOUT: "logged_out",
    T.LOG_OUT: "logged_out",
    T.STOP: "stopped",
    T.DELETE: "deleted",
    T.PAIRING_GAVE_UP: "pairing_timed_out",
    T.CERTIFICATE_REFUSED: "bad_certificate",
    T.LOGIN_REFUSED_ONCE: "login_refused",
    T.START: "starting",
    T.BAN_EXPIRED: "starting",
    T.VERSION_CHANGED: "starting",
}

_REASONS: Mapping[Trigger, Reason] = {
    **dict.fromkeys((T.LOGGED_OUT, T.DEVICE_REMOVED, T.FORCED_LOGOUT, T.LOG_OUT, T.DELETE), Reason.LOGOUT),
    **dict.fromkeys((T.ACCOUNT_LOCKED, T.BANNED, T.BAD_CERTIFICATE, *_KEEPING), Reason.SESSION_INVALIDATED),
    T.REPLACED: Reason.KICKED_OTHER_DEVICE,
}

# Public events name a trigger's `reason` and `detail` only while the instance is not well.
_QUIET: frozenset[State] = frozenset({State.CONNECTED, State.QR_REQUIRED})


@dataclass(frozen=True, slots=True)
class Step:
    """What a trigger does: the new situation, the fate of the auth state, and the words for it.

    `is_legal` is False when the table has no row; then nothing changes. `reason` and `detail` are None in
    `connected` and `qr_required`.
    """

    situation: Situation
    auth: Auth
    reason: Reason | None
    detail: str | None
    is_legal: bool = True

    @property
    def state(self) -> State:
        """The public state after the step."""
        return self.situation.state


def step(state: State, has_account: bool, trigger: Trigger) -> Step:
    """Say where `trigger` leads from `state`.

    >>> step(State.CONNECTED, True, Trigger.REPLACED).detail
    'replaced'
    """
    source = Situation(state, has_account)
    row = TRANSITIONS.get((source, trigger))
    if row is None:
        return Step(source, Auth.KEPT, None, None, is_legal=False)
    target, auth = row
    if target.state in _QUIET:
        return Step(target, auth, None, None)
    return Step(target, auth, _REASONS.get(trigger, Reason.NETWORK), _DETAILS.get(trigger, trigger.value))


def should_run(state: State) -> bool:
    """Whether an instance in this state owns a socket or is trying to get one."""
    return state in (State.QR_REQUIRED, State.CONNECTED, State.RECONNECTING)


def mermaid() -> str:
    """Draw the table as a Mermaid state diagram; ARCHITECTURE.md holds exactly this text (a test compares)."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (source, trigger), (target, auth) in TRANSITIONS.items():
        if trigger is T.DELETE or (source.state is target.state and auth is Auth.KEPT):
            continue
        label = f"{trigger} ({auth})" if auth is not Auth.KEPT else str(trigger)
        labels = arrows.setdefault((source.state, target.state), [])
        if label not in labels:
            labels.append(label)
    lines = ["stateDiagram-v2", "    [*] --> pending"]
    lines += [f"    {a} --> {b}: {', '.join(labels)}" for (a, b), labels in arrows.items()]
    return "\n".join(lines) + "\n"
