"""How far a run is: one line at the terminal that is written over, or a line for each word where there is no terminal.

Rule: it tells of the run and never holds it up.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

_BAR = 20


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60}:{whole % 60:02d}"


def bar(share: float, width: int = _BAR) -> str:
    """So much of it is done."""
    full = min(width, max(0, int(share * width)))
    return "[" + "#" * full + "." * (width - full) + "]"


@dataclass(slots=True)
class Progress:
    """`seconds` is what the whole run is expected to take; `spent` grows by what is done."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    now: Callable[[], float] = time.monotonic
    is_terminal: bool | None = None
    _begun_at: float = 0.0
    _left_s: float = 0.0
    _left_at: float = 0.0
    _what: str = ""
    _word: str = ""

    def __post_init__(self) -> None:
        if self.is_terminal is None:
            self.is_terminal = self.out.isatty()
        self._begun_at = self._left_at = self.now()

    def expect(self, left_s: float) -> None:
        """So many seconds are left, as far as anybody knows now."""
        self._left_s, self._left_at = left_s, self.now()

    def begin(self, what: str) -> None:
        """From now on that is being done."""
        self._what, self._word = what, ""
        left = f", about {clock(self._rest_s)} left" if self._left_s else ""
        self.draw() if self.is_terminal else self._write(f"[{clock(self._spent_s)}] {what}{left}")

    def say(self, word: str) -> None:
        """A word of what is being done; where there is no terminal it is a line of its own."""
        self._word = word
        self.draw() if self.is_terminal else self._write(f"[{clock(self._spent_s)}]   {word}")

    def tell(self, text: str) -> None:
        """A line that stays."""
        if self.is_terminal:
            self._clear()
        self._write(text)
        self.draw()

    @property
    def _spent_s(self) -> float:
        return self.now() - self._begun_at

    @property
    def _rest_s(self) -> float:
        return max(0.0, self._left_s - (self.now() - self._left_at))

    def draw(self) -> None:
        """The line as it stands; nothing where there is no terminal."""
        if not self.is_terminal:
            return
        whole = self._spent_s + self._rest_s
        share = self._spent_s / whole if whole > 0 else 0.0
        left = f"{bar(share)} {clock(self._rest_s)} left" if self._left_s else f"{clock(self._spent_s)} spent"
        text = f"{left}  {self._what}: {self._word}".rstrip(": ")
        width = shutil.get_terminal_size().columns - 1
        self.out.write("\r" + text[:width].ljust(width))
        self.out.flush()

    def end(self) -> None:
        """Take the line away."""
        if self.is_terminal:
            self._clear()

    def _clear(self) -> None:
        self.out.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
        self.out.flush()

    def _write(self, text: str) -> None:
        self.out.write(text + "\n")
        self.out.flush()
