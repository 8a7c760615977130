"""Why the control API says no: one class, which carries the HTTP status and a slug.

Rule: the message is for the person who asked; it holds nothing of anybody's keys or codes.
"""

from __future__ import annotations

from whatisup.errors import CommandRefused


class Refused(CommandRefused):
    """What was asked of the sandbox cannot be done; `status` is HTTP's, `code` a slug."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code
