"""What a check says: fine, worth knowing, or in the way of a working gateway; and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    WRONG = "WRONG"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. Whatever is not fine has a remedy: a sentence that says what to do."""

    level: Level
    topic: str
    text: str
    remedy: str | None = None


def ok(topic: str, text: str) -> Finding:
    """Nothing is to be done."""
    return Finding(Level.OK, topic, text)


def note(topic: str, text: str, remedy: str) -> Finding:
    """The gateway works; somebody should know."""
    return Finding(Level.NOTE, topic, text, remedy)


def wrong(topic: str, text: str, remedy: str) -> Finding:
    """The gateway does not work, or not for long."""
    return Finding(Level.WRONG, topic, text, remedy)
