"""What a phone does of its own accord, and how it comes to write something at all.

Rule: whatever a phone is to write is drafted in its log first, so that it is written once.
"""

from __future__ import annotations

from typing import Any

from whatisup.control import Persona
from whatisup.protocol.content import ids
from whatisup.protocol.content.normalise import Content
from whatisup.sandbox.accounts import Account
from whatisup.sandbox.people.tasks import SendTask
from whatisup.sandbox.people.turn import Turn


def is_awake(turn: Turn) -> bool:
    """Whether the phone's persona does anything with what it reads."""
    return turn.desk.settings(turn.number).persona is Persona.ECHO


def react(turn: Turn, author: Account, content: Content) -> None:
    """Do what the phone's persona does when it has read something of somebody for the first time."""
    if not is_awake(turn) or content.kind != "text" or content.body is None:
        return
    # Two that echo would never stop.
    if turn.desk.settings(author.number).persona is not Persona.ECHO:
        message_id = say(turn, author, {"type": "text", "text": content.body["text"]})
        turn.desk.add(turn.number, SendTask(message_id))


def say(turn: Turn, to: Account, body: dict[str, Any]) -> str:
    """Draft a message; return its id."""
    message_id = ids.new_message_id(turn.hub.unix, turn.number, turn.entropy)
    turn.logs.draft(turn.number, message_id, to.number, body["type"], body, turn.hub.unix_ms)
    return message_id
