"""An upgrade in a process of its own: what it imports (Alembic, Mako) goes with it, and not with a gateway's years.

`upgrade_apart` looks, and starts `python -m whatisup.store.upgrade` only where something is to be done. That process
opens the store as everybody does, which upgrades it under the same locks and with the same errors; it answers with the
revision that was there before, or with the error.

Rule: address and secrets travel through a pipe, never in arguments or the environment, which others can see. And they
go to our own code alone: the child looks for modules where the parent does, and not in the current folder first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Final

from whatisup import errors
from whatisup.store import schema
from whatisup.store.location import locate
from whatisup.store.secrets import Secrets
from whatisup.store.store import Store, open_backend
from whatisup.store.vault import Vault

_ERRORS: Final = {
    kind.__name__: kind
    for kind in (errors.StoreError, errors.StoreUnavailable, errors.SecretsError, errors.SchemaTooNew)
}
COMMAND: Final = ("-P", "-m", "whatisup.store.upgrade")
"""What Python is told to run."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def upgrade_apart(url: str, secrets: Secrets) -> str | None:
    """Make or upgrade the store at `url` if need be; the revision that was there before, None where there was none.

    Raises:
        SecretsError, SchemaTooNew, StoreError, StoreUnavailable, SettingsError: as `Store.open`.
    """
    backend = open_backend(locate(url), readers=1)
    try:
        if schema.is_ready(backend, Vault(secrets, os.urandom)):
            return None
    finally:
        backend.close()
    asked = {"url": url, "key": secrets.key, "pepper": secrets.pepper, "previous": secrets.previous}
    command = (sys.executable, *COMMAND)
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run(  # noqa: S603 - ourselves
        command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=False, env=surroundings
    )
    return _read(child.stdout, child.returncode)


def _read(answer: str, code: int) -> str | None:
    """Take the child's word.

    Raises:
        StoreError: what it says, or that it says nothing; then its own last words are on stderr, which it shares.
    """
    if code != 0 or not answer:
        raise errors.StoreError(f"the process that upgrades the store ended with {code}; nothing was changed by halves")
    said = json.loads(answer)
    if "error" in said:
        raise _ERRORS.get(said["error"], errors.StoreError)(said["text"])
    before: str | None = said["before"]
    return before


def main() -> None:
    """Do what the parent asks on stdin, and answer on stdout.

    Whoever stops the gateway meanwhile, and with it everything that it has started, waits for the end of the
    transaction, as if it were the gateway's own.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    asked = json.load(sys.stdin)
    try:
        with Store.open(asked["url"], Secrets(asked["key"], asked["pepper"], tuple(asked["previous"]))) as store:
            said = {"before": store.upgraded_from}
    except errors.WhatIsUpError as error:
        said = {"error": type(error).__name__, "text": str(error)}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
