"""An upgrade in a process of its own: the same as everywhere, errors included, and nothing of it stays here."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.conftest import TEST_SECRETS
from tests.postgres import Postgres
from tests.store.test_upgrade import to_second, undo
from whatisup.errors import SchemaTooNew, SecretsError, StoreError, StoreUnavailable
from whatisup.store import Secrets, Store, upgrade
from whatisup.store.migrations import HEAD
from whatisup.store.upgrade import upgrade_apart

OTHERS = Secrets(key="a key that somebody else knows, 01", pepper=TEST_SECRETS.pepper)
SEEN = """
import sys
from whatisup.store import Secrets
from whatisup.store.upgrade import upgrade_apart
upgrade_apart(sys.argv[1], Secrets(*sys.argv[2:]))
print(" ".join(name for name in ("alembic", "mako") if name in sys.modules))
"""
STOPPED = """
import io, os, signal, sys
from whatisup.store import upgrade

class Told(io.StringIO):
    def read(self, *size):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        return super().read(*size)

sys.stdin = Told(sys.stdin.read())
upgrade.main()
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The address of a SQLite store that is not there yet."""
    return f"sqlite:///{tmp_path / 'fresh.db'}"


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody starts a process."""
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))


def test_store_is_made_apart_and_nothing_of_alembic_stays(url: str) -> None:
    command = [sys.executable, "-c", SEEN, url, TEST_SECRETS.key, TEST_SECRETS.pepper]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")
    with Store.open(url, TEST_SECRETS) as store:
        assert store.upgraded_from is None
        assert (
            store.read(lambda conn, _: conn.execute(text("SELECT version_num FROM alembic_version")).scalar()) == HEAD
        )


def test_modules_of_the_current_folder_are_not_told_the_secrets(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway may be started anywhere, also where others can put a file."""
    theirs = tmp_path / "theirs"
    (theirs / "whatisup").mkdir(parents=True)
    for name in ("json.py", "whatisup/__init__.py"):
        (theirs / name).write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(theirs)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one] + [str(Path(upgrade.__file__).parents[2])])
    assert upgrade_apart(url, TEST_SECRETS) is None


def test_server_is_brought_up_apart(postgres: Postgres) -> None:
    postgres.execute("CREATE DATABASE apart")
    try:
        assert upgrade_apart(postgres.url("apart"), TEST_SECRETS) is None
        with Store.open(postgres.url("apart"), TEST_SECRETS) as store:
            assert store.upgraded_from is None
    finally:
        postgres.execute("DROP DATABASE apart WITH (FORCE)")


def test_older_store_is_upgraded_apart(store_url: str) -> None:
    with Store.open(store_url, TEST_SECRETS) as store:
        store.call(lambda tx: undo(tx.conn, to_second))
    assert upgrade_apart(store_url, TEST_SECRETS) == "0002"


@pytest.mark.usefixtures("no_child")
def test_store_that_is_up_to_date_starts_no_process(store_url: str) -> None:
    assert upgrade_apart(store_url, TEST_SECRETS) is None


@pytest.mark.usefixtures("no_child")
def test_what_must_not_be_touched_is_refused_at_once(store: Store, store_url: str) -> None:
    with pytest.raises(SecretsError):
        upgrade_apart(store_url, OTHERS)
    store.call(lambda tx: tx.conn.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(SchemaTooNew, match="9999"):
        upgrade_apart(store_url, TEST_SECRETS)


def test_error_of_the_child_is_raised_here(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the child's turn somebody else has made tables of another program."""
    with sqlite3.connect(tmp_path / "fresh.db") as theirs:
        theirs.execute("CREATE TABLE notes (text)")
    theirs.close()
    monkeypatch.setattr("whatisup.store.schema.is_ready", lambda *_: False)
    with pytest.raises(StoreError, match="tables that are not ours"):
        upgrade_apart(url, TEST_SECRETS)


def test_unavailable_stays_unavailable(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fresh.db").write_bytes(b"no database, but long enough to be looked at as if it were one" * 100)
    monkeypatch.setattr("whatisup.store.schema.is_ready", lambda *_: False)
    with pytest.raises(StoreUnavailable):
        upgrade_apart(url, TEST_SECRETS)


def test_child_that_dies_is_an_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "COMMAND", ("-c", "import os; os.kill(os.getpid(), 9)"))
    with pytest.raises(StoreError, match="ended with -9"):
        upgrade_apart(url, TEST_SECRETS)


def test_child_ends_what_it_began_whoever_is_stopped(url: str) -> None:
    """A service manager stops every process of a service at once."""
    asked = {"url": url, "key": TEST_SECRETS.key, "pepper": TEST_SECRETS.pepper, "previous": []}
    command = [sys.executable, "-c", STOPPED]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"before": null}', "")
