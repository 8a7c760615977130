"""Messages of one instance: what comes in, what goes out, and what repairs either.

Rule: everything here belongs to one actor and runs in its task; it keeps in memory only when to do what, and what a
connection has been asked. Whatever must survive is in the store.
"""

from __future__ import annotations

from actors.instance.messaging.desk import Messaging

__all__ = ["Messaging"]
