"""What the tour shows: headings, remarks, a moving line while it waits, and the table at the end.

Rule: colours and moving lines only on a terminal; elsewhere plain lines, a sign of life every ten seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

import trio

_TICK_TTY_S = 0.2
_TICK_PLAIN_S = 10.0
_CLEAR = "\r\x1b[2K"
_COLOURS = {"bold": "1", "dim": "2", "green": "32", "red": "31", "yellow": "33", "cyan": "36"}


@dataclass(frozen=True, slots=True)
class Result:
    """How one scene went. `seconds` is what the scene is about (a resume time), None if it was not played."""

    title: str
    verdict: str
    seconds: float | None = None
    remark: str = ""


@dataclass(slots=True)
class Stage:
    """Writes to `out`."""

    out: TextIO
    is_tty: bool
    _has_moving_line: bool = False
    _waiting: tuple[str, float] | None = None

    def colour(self, text: str, name: str) -> str:
        """`text` in a colour, where there are colours."""
        return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m" if self.is_tty else text

    def line(self, text: str = "") -> None:
        """Write a line, over the moving one if there is one."""
        self._clear()
        self.out.write(text + "\n")
        self.out.flush()

    def _clear(self) -> None:
        if self._has_moving_line:
            self.out.write(_CLEAR)
            self._has_moving_line = False

    def heading(self, text: str) -> None:
        """Open a scene."""
        self.line()
        self.line(self.colour(text, "bold"))

    def remark(self, text: str) -> None:
        """Say something within a scene."""
        self.line("  " + text)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show, while the body runs, what it waits for and how long already (`tick` must be running)."""
        self._waiting = (what, trio.current_time())
        try:
            yield
        finally:
            self._waiting = None
            self._clear()

    async def tick(self) -> None:
        """Give the signs of life of `waiting`, for ever."""
        while True:
            await trio.sleep(_TICK_TTY_S if self.is_tty else _TICK_PLAIN_S)
            if self._waiting is None:
                continue
            what, since = self._waiting
            text = f"  … {what}, {trio.current_time() - since:.0f} s"
            if self.is_tty:
                self.out.write(_CLEAR + self.colour(text, "dim"))
                self.out.flush()
                self._has_moving_line = True
            else:
                self.line(text)

    def table(self, results: Sequence[Result]) -> None:
        """Write the summary."""
        width = max(len(result.title) for result in results)
        self.heading("Summary")
        for result in results:
            seconds = "" if result.seconds is None else f"{result.seconds:.2f} s"
            colour = {"ok": "green", "failed": "red"}.get(result.verdict, "yellow")
            verdict = self.colour(f"{result.verdict:<10}", colour)
            self.remark(f"{result.title:<{width}}  {verdict} {seconds:>9}  {result.remark}".rstrip())
