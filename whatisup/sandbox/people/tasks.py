"""What a script tells a phone to do, as it waits on the desk among the stanzas.

Rule: a task is a value that survives the process; it is done in its turn, exactly once.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct


class SendTask(Struct, frozen=True, array_like=True, tag="send"):
    """Send the drafted message of that id."""

    id: str


class PostTask(Struct, frozen=True, array_like=True, tag="post"):
    """Send the drafted message of that id to many: to these accounts, who belong to its chat from now on.

    Without `gives_keys` the phone acts as if they all had its key.
    """

    id: str
    members: tuple[str, ...]
    gives_keys: bool = True


class ReadTask(Struct, frozen=True, array_like=True, tag="read"):
    """Look at a chat (a number): at these messages, or at all that are unseen."""

    chat: str
    ids: tuple[str, ...] = ()


class TypingTask(Struct, frozen=True, array_like=True, tag="typing"):
    """Show a chat (a number) that its owner types, records, or stopped."""

    to: str
    state: Literal["composing", "recording", "paused"]


class GreetTask(Struct, frozen=True, array_like=True, tag="greet"):
    """Give a new companion its keys and history."""

    device: int


class RenewTask(Struct, frozen=True, array_like=True, tag="renew"):
    """Take new keys."""


Task: TypeAlias = SendTask | PostTask | ReadTask | TypingTask | GreetTask | RenewTask

_DECODER = msgspec.msgpack.Decoder(Task)
_ENCODER = msgspec.msgpack.Encoder()


def encode_task(task: Task) -> bytes:
    """Return the bytes to keep."""
    return _ENCODER.encode(task)


def decode_task(data: bytes) -> Task:
    """Read what `encode_task` wrote."""
    task: Task = _DECODER.decode(data)
    return task
