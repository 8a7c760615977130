"""The error taxonomy: the class says who must act.

Rule: attributes carry data, the message is for people, and neither ever holds a key, a secret or a message body.
"""

from __future__ import annotations


class WhatIsUpError(Exception):
    """Root of every error this project raises on purpose; never raised itself."""


class ProtocolError(WhatIsUpError):
    """Somebody broke the wire protocol."""


class LocalProtocolError(ProtocolError):
    """We asked for what the connection's state forbids: our bug, so the actor crashes and is rebuilt."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol: close the connection and reconnect with backoff."""


class CertificateError(RemoteProtocolError):
    """The server's certificate chain was refused. `reason` is a slug such as `expired` or `wrong_root`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TransportError(WhatIsUpError):
    """The socket was lost, refused or timed out: back off and try again."""


class UpgradeRefused(TransportError):
    """The server answered the websocket upgrade with an HTTP status. `status` is that status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server refused the websocket upgrade with HTTP {status}")
        self.status = status


class SettingsError(WhatIsUpError):
    """A setting has a wrong value. `name` is the environment variable's name."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class StoreError(WhatIsUpError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):
    """The database cannot be reached or written right now: wait and probe."""


class Fenced(StoreError):
    """A unit came from an older incarnation of its instance and was refused: its author is dead and must stop."""


class SecretsError(StoreError):
    """No configured key opens this store, or a key is missing where one is needed: refuse to start."""


class SchemaTooNew(StoreError):
    """A newer release has upgraded this store: refuse to start, change nothing."""


class SealBroken(StoreError):
    """A sealed value failed authentication: it was moved, swapped or tampered with."""


class BadCursor(StoreError):
    """A list was asked to go on from a place that it never gave out."""


class CursorExpired(StoreError):
    """The event log was asked to go on from a place that retention has deleted: something may have been missed."""


class WiderThanMaker(StoreError):
    """An API key was asked to make one that is allowed more than itself, or for longer. `field` says in what."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class CommandRefused(WhatIsUpError):
    """A command cannot be carried out now; the caller is told and the actor lives on."""


class UnknownInstance(CommandRefused):
    """No such instance for this caller."""


class SessionExists(CommandRefused):
    """Pairing was asked for while an account is already linked."""


class InvalidTransition(CommandRefused):
    """The instance's state does not allow the command. `state` is that state, `remedy` says what to do."""

    def __init__(self, command: str, state: str, remedy: str) -> None:
        super().__init__(f"cannot {command} while the instance is {state}: {remedy}")
        self.command, self.state, self.remedy = command, state, remedy


class NotConnected(CommandRefused):
    """A message was to be sent by an instance that has no session. `state` is the instance's."""

    def __init__(self, state: str) -> None:
        super().__init__(f"the instance is {state}: connect it first")
        self.state = state


class TooManyChecks(CommandRefused):
    """The instance has looked up as many numbers as it may; the next is due in `retry_after_s` seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("as many numbers have been looked up as is safe for this account; wait before the next")
        self.retry_after_s = retry_after_s


class CheckFailed(CommandRefused):
    """WhatsApp did not say whether a number has an account; `code` is its error, 408 where it did not answer."""

    def __init__(self, code: int) -> None:
        super().__init__(f"WhatsApp did not answer the lookup (code {code}); try again later")
        self.code = code


class PairingEnded(CommandRefused):
    """Pairing ended while somebody waited for a QR or a code. `state` and `detail` are the instance's."""

    def __init__(self, state: str, detail: str | None) -> None:
        super().__init__(f"pairing ended: the instance is {state} ({detail}); ask for a new QR to start over")
        self.state, self.detail = state, detail


class PairCodeFailed(CommandRefused):
    """WhatsApp refused to hand out a linking code."""


class TooManyEndpoints(CommandRefused):
    """The customer has as many webhook endpoints as it may."""


class EventExpired(CommandRefused):
    """A delivery was to be sent again whose event is no longer kept, or whose endpoint was deleted."""


class AtCapacity(CommandRefused):
    """The process holds as many sessions as it may (`MAX_SESSIONS_PER_WORKER`)."""


class MailboxFull(CommandRefused):
    """The actor's inbox is full: try again later."""


class ActorStopped(CommandRefused):
    """The actor ended before it answered: the command may or may not have been carried out."""


class E2eeError(WhatIsUpError):
    """One end-to-end encrypted message could not be read or written; the connection and other messages are well.

    Whoever received it asks its sender again: `retry_code` is the `error` of that retry receipt. `slug` is for events
    and metrics.
    """

    retry_code: int = 0
    slug: str = "e2ee"


class NoSession(E2eeError):
    """There is no session with that device, or none that could hold such a message."""

    retry_code = 1
    slug = "no_session"


class InvalidKey(E2eeError):
    """A peer's public key is none: another length or type, or of small order."""

    retry_code = 2
    slug = "invalid_key"


class InvalidKeyId(E2eeError):
    """A message was made with a prekey of ours that we no longer have, or never had."""

    retry_code = 3
    slug = "invalid_key_id"


class InvalidMessage(E2eeError):
    """A ciphertext is malformed, of another version, or belongs to a chain whose keys are gone."""

    retry_code = 4
    slug = "invalid_message"


class BadPadding(InvalidMessage):
    """A ciphertext opened, but the padding of what was in it is wrong."""

    slug = "bad_padding"


class InvalidSignature(E2eeError):
    """A signed prekey or a group message does not carry its owner's signature."""

    retry_code = 5
    slug = "invalid_signature"


class FutureMessage(E2eeError):
    """A message counter is further ahead than we derive keys for."""

    retry_code = 6
    slug = "future_message"


class BadMac(E2eeError):
    """No session with that device made this message."""

    retry_code = 7
    slug = "bad_mac"


class InvalidRecord(E2eeError):
    """A stored session or sender key record cannot be read: a newer release wrote it, or it is damaged."""

    retry_code = 8
    slug = "invalid_record"


class OldCounter(E2eeError):
    """A message's key was already used, or was dropped: a duplicate, or a message lost between ratchet and row."""

    retry_code = 9
    slug = "old_counter"


class NoSenderKey(E2eeError):
    """A group message came from a device whose sender key we were never given."""

    retry_code = 1
    slug = "no_sender_key"
