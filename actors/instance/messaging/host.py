"""What messaging needs of the actor it belongs to.

Rule: messaging decides what to commit and what to say; the actor alone commits, and alone owns the socket.
"""

from __future__ import annotations

from typing import Protocol

from actors.instance.services import Services
from whatisup.protocol.connection import Connection
from whatisup.protocol.dialogue.ration import PrekeyRation
from whatisup.store import Committed, Instance, Op


class Host(Protocol):
    """The actor, as its messaging sees it."""

    @property
    def id(self) -> str:
        """The instance's id."""
        ...

    @property
    def row(self) -> Instance:
        """The instance's row as it was last committed."""
        ...

    @property
    def services(self) -> Services:
        """Everything an actor works with."""
        ...

    @property
    def connection(self) -> Connection | None:
        """The connection, while there is one."""
        ...

    @property
    def ration(self) -> PrekeyRation:
        """How many prekeys may be made: every used one may be replaced."""
        ...

    @property
    def is_leaving(self) -> bool:
        """Whether a logout or delete is under way: nothing new goes out then."""
        ...

    async def commit(self, *ops: Op) -> Committed:
        """Commit one unit."""
        ...

    async def flush(self) -> None:
        """Send what the connection has queued."""
        ...
