"""What `whatisup doctor` checks, in the order in which one thing rests on another.

Rule: looking changes nothing. No store is made or upgraded, no key written, nobody's WhatsApp is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from api.cli.checks import others, store, surroundings
from api.cli.checks.finding import Finding, Level, ok, wrong
from whatisup.errors import SettingsError
from whatisup.settings import Settings

__all__ = ["Finding", "Level", "examine"]


def examine(environment: Mapping[str, str], now: Callable[[], float]) -> Iterator[Finding]:
    """Check everything; `now` gives unix seconds. Without settings there is nothing further to look at."""
    yield surroundings.clock(now())
    try:
        settings = Settings.from_environment(environment)
    except SettingsError as error:
        yield wrong(
            "settings", str(error), f"correct {error.name}, or unset it; `whatisup config` says what each means"
        )
        return
    yield ok("settings", "every value is of its kind")
    yield from surroundings.misspelt(environment)
    yield from store.examine(settings, now)
    yield from others.server(settings)
    yield from others.sandbox(settings)
    yield from surroundings.disk(settings)
    yield from surroundings.files(settings)
    yield from surroundings.webhooks(settings)
    yield from surroundings.exposure(settings)
    yield from surroundings.traces(settings)
