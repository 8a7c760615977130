"""The first start on an empty store: a customer, a live key, a test key, and lines to try.

Rule: a key's secret is shown once, on a terminal; where there is none it goes into a file of mode 0600, never to a log.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from whatisup.store import Mode, Origin, Tx, customers, keys
from whatisup.store.location import SqliteFile, locate

ORIGIN = Origin("system")


@dataclass(frozen=True, slots=True)
class FirstKeys:
    """What a newcomer needs: a customer and its two keys."""

    customer_id: str
    live: str = field(repr=False)
    test: str = field(repr=False)


def make_first_keys(tx: Tx) -> FirstKeys | None:
    """Make the first customer with its keys; None if there is a customer already."""
    if customers.list_all(tx.conn, tx.vault, limit=1):
        return None
    customer = customers.create(tx, name="default", origin=ORIGIN, now=tx.now)
    secrets = {
        mode: keys.create(tx, customer_id=customer.id, mode=mode, name=f"first {mode} key", origin=ORIGIN, now=tx.now)[
            1
        ]
        for mode in Mode
    }
    return FirstKeys(customer.id, secrets[Mode.LIVE], secrets[Mode.TEST])


def key_file(database_url: str) -> Path:
    """Where keys go when nobody is looking at a terminal."""
    location = locate(database_url)
    return location.beside(".keys") if isinstance(location, SqliteFile) else Path("var/whatisup.keys")


def hand_out(secrets: Mapping[str, str], path: Path, out: TextIO | None = None) -> Path | None:
    """Print keys (label -> secret) on a terminal and return None, or append them to a 0600 file and return its path."""
    out = sys.stdout if out is None else out
    lines = "".join(f"{label}  {secret}\n" for label, secret in secrets.items())
    if out.isatty():
        out.write(lines)
        out.flush()
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(lines)
    return path


def lines_to_try(url: str, key: str, *, has_sandbox: bool) -> str:
    """Write shell lines that work as they stand; `url` and `key` are what the shell shall put into `URL` and `KEY`."""
    auth = '-H "Authorization: Bearer $KEY"'
    json = "-H 'Content-Type: application/json'"
    lines = [
        f"URL={url}",
        f"KEY={key}",
        "# a number; its id; and its QR, drawn here",
        f"ID=$(curl -s $URL/v1/instances {auth} {json} -d '{{\"name\": \"first\"}}' | grep -o 'inst_[0-9A-Z]*')",
        f"curl -s $URL/v1/instances/$ID/qr {auth} -H 'Accept: text/plain'",
        f"curl -s $URL/v1/instances {auth}",
    ]
    if has_sandbox:
        lines += [
            "# the sandbox's phone scans that QR",
            f"NUMBER=$(curl -s $URL/v1/sandbox/phones {auth} {json} -d '{{}}' | grep -o '999[0-9]\\{{9\\}}')",
            f'curl -s $URL/v1/sandbox/phones/$NUMBER/scan {auth} {json} -d "{{\\"instance_id\\": \\"$ID\\"}}"',
            "# somebody to write to, who echoes; a message; and what was said both ways",
            f"FRIEND=$(curl -s $URL/v1/sandbox/contacts {auth} {json} "
            '-d \'{"name": "Ada", "persona": "echo"}\' | sed \'s/.*"number":"\\([0-9]*\\)".*/\\1/\')',
            f"curl -s $URL/v1/instances/$ID/messages {auth} {json} "
            '-d "{\\"to\\": \\"$FRIEND\\", \\"body\\": {\\"type\\": \\"text\\", \\"text\\": \\"hello\\"}}"',
            f"sleep 1; curl -s $URL/v1/instances/$ID/messages {auth}",
        ]
    return "\n".join(lines) + "\n"
