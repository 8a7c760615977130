"""`whatisup serve`: the gateway."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from dataclasses import dataclass, replace
from functools import partial

import click
import trio

from api import bootstrap
from whatisup.settings import Settings


@click.command()
@click.option("--host", help="Address to listen on (WHATISUP_HOST).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (WHATISUP_PORT); 0 = any free one.")
@click.option("--no-sandbox", is_flag=True, help="Run no sandbox child; test keys then need WHATISUP_SANDBOX_URL.")
def serve(host: str | None, port: int | None, no_sandbox: bool) -> None:
    """Run the gateway: API, instances and the sandbox child."""
    settings = Settings.from_environment(os.environ)
    settings = replace(
        settings, host=settings.host if host is None else host, port=settings.port if port is None else port
    )
    bootstrap.configure_logging(settings)
    options = bootstrap.Options(has_sandbox=not no_sandbox)
    bootstrap.share_one_heap()
    # What is imported by now lives as long as the process: the collector need not walk over it each time, which is most
    # of what a full collection takes, and stops everything meanwhile.
    gc.collect()
    gc.freeze()
    trio.run(partial(bootstrap.serve, settings, options, task_status=_Announcement(settings)))


@dataclass(frozen=True, slots=True)
class _Announcement:
    """Takes the place of a nursery that waits for the start: it may be told to stop first, and that is no error."""

    settings: Settings

    def started(self, value: bootstrap.Started | None = None) -> None:
        """Announce it."""
        assert value is not None  # noqa: S101 - the gateway always says where it listens
        if value is not None:
            _announce(self.settings, value)


def _announce(settings: Settings, started: bootstrap.Started) -> None:
    """Say where it listens and, on the first start, how to begin."""
    url = started.urls[0]
    click.echo(f"WhatIsUp listens on {url} (Ctrl-C ends it)")
    if started.first_keys is None:
        return
    secrets = {"live": started.first_keys.live, "test": started.first_keys.test}
    path = bootstrap.hand_out(secrets, bootstrap.key_file(settings.database_url))
    if path is None:
        click.echo("These keys are shown this once: keep them. `whatisup keys create` makes more.")
        key = started.first_keys.test
    else:
        click.echo(f"The first keys, one live and one test, are in {path} (mode 0600).")
        key = f"$(sed -n 's/^test  //p' {shlex.quote(str(path.resolve()))} | tail -n 1)"
    click.echo("Try this in another terminal:\n")
    click.echo(bootstrap.lines_to_try(url, key, has_sandbox=started.graph.sandbox is not None))
    sys.stdout.flush()
