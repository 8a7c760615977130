"""Opening: the schema comes up once, whoever is first, and nobody else's database is touched."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, inspect, text

from tests.conftest import TEST_SECRETS
from tests.postgres import Postgres
from tests.store.world import World, make_customer
from whatisup.errors import SchemaTooNew, StoreError, StoreUnavailable
from whatisup.store import Store, migrations
from whatisup.store.migrations import HEAD, REVISIONS
from whatisup.store.tables import metadata

PROCESSES = 3

OPEN = """
import sys
from whatisup.store import Secrets, Store
with Store.open(sys.argv[1], Secrets(*sys.argv[2:])) as store:
    store.probe()
heavy = ("alembic", "psycopg", "sqlalchemy.dialects.postgresql", "sqlalchemy.orm")
print(" ".join(name for name in heavy if name in sys.modules))
"""


def open_elsewhere(url: str) -> subprocess.Popen[str]:
    """Open and close a store in a process of its own; prints which heavy modules that took."""
    command = [sys.executable, "-c", OPEN, url, TEST_SECRETS.key, TEST_SECRETS.pepper]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'fresh' / 'store.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = f"fresh_{abs(hash(request.node.nodeid))}"
    server.execute(f"CREATE DATABASE {name}")
    yield server.url(name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_first_opening_makes_the_schema_and_later_ones_keep_it(fresh_url: str) -> None:
    with Store.open(fresh_url, TEST_SECRETS) as store:
        customer = make_customer(store)
    with Store.open(fresh_url, TEST_SECRETS) as store:
        row = store.read(lambda conn, _: conn.execute(text("SELECT id FROM customers")).scalar_one())
    assert row == customer.id


def test_schema_is_what_the_tables_say(fresh_url: str) -> None:
    with Store.open(fresh_url, TEST_SECRETS) as store:
        drift = store.read(lambda conn, _: compare_metadata(MigrationContext.configure(conn), metadata))
        checks = store.read(
            lambda conn, _: {
                (table.name, check["name"]) for table in metadata.sorted_tables
                for check in inspect(conn).get_check_constraints(table.name)
            }
        )  # fmt: skip
    assert drift == []
    assert checks == {
        (table.name, check.name)
        for table in metadata.sorted_tables
        for check in table.constraints
        if isinstance(check, CheckConstraint)
    }


def test_revisions_are_those_of_the_scripts() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    script = ScriptDirectory.from_config(config)
    assert tuple(reversed([revision.revision for revision in script.walk_revisions()])) == REVISIONS
    assert script.get_current_head() == HEAD


def test_processes_that_open_at_once_agree(fresh_url: str) -> None:
    starting = [open_elsewhere(fresh_url) for _ in range(PROCESSES)]
    results = [(process.communicate(timeout=60), process.returncode) for process in starting]
    assert [code for _, code in results] == [0] * PROCESSES, results
    with Store.open(fresh_url, TEST_SECRETS) as store:
        assert store.read(lambda conn, _: conn.execute(text("SELECT count(*) FROM canary")).scalar_one()) == 1


def test_heavy_modules_are_imported_when_needed(sqlite_store: Store, sqlite_path: Path) -> None:
    process = open_elsewhere(f"sqlite:///{sqlite_path}")
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out.strip()) == (0, ""), error


def test_store_of_a_newer_release_is_refused(store: Store, store_url: str) -> None:
    store.call(lambda tx: tx.conn.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(SchemaTooNew, match="9999"):
        Store.open(store_url, TEST_SECRETS)


def test_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as theirs:
        theirs.execute("CREATE TABLE notes (text)")
    theirs.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not ours"):
        Store.open(f"sqlite:///{path}", TEST_SECRETS)
    assert path.read_bytes() == before


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Ada, " * 500)
    with pytest.raises(StoreError):
        Store.open(f"sqlite:///{path}", TEST_SECRETS)
    assert path.read_text().startswith("Dear Ada")


def test_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        Store.open(f"postgresql://t@/x?host={tmp_path}", TEST_SECRETS)


def test_unavailable_server_does_not_print_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        Store.open(f"postgresql://t:hunter2@/x?host={tmp_path}", TEST_SECRETS)
    assert "hunter2" not in str(caught.value)


def test_files_are_private(sqlite_store: Store, sqlite_path: Path) -> None:
    World(sqlite_store)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in sqlite_path.parent.iterdir()}
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


def test_every_connection_is_durable(store: Store, store_url: str) -> None:
    asked = {"sqlite": ("PRAGMA synchronous", 2), "postgresql": ("SHOW synchronous_commit", "on")}
    question, answer = asked[store_url.partition(":")[0]]
    assert store.call(lambda tx: tx.conn.execute(text(question)).scalar_one()) == answer
    assert store.read(lambda conn, _: conn.execute(text(question)).scalar_one()) == answer


def test_setting_that_does_not_take_is_noticed(sqlite_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whatisup.store.sqlite._PRAGMAS", ("journal_mode=WAL", "synchronous=NORMAL"))
    with pytest.raises(StoreError, match="durable"):
        Store.open(f"sqlite:///{sqlite_path}", TEST_SECRETS)


def test_readers_cannot_write(world: World) -> None:
    with pytest.raises(StoreError):
        world.store.read(lambda conn, _: conn.execute(text("DELETE FROM customers")))


def test_path_with_spaces_and_signs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a b/50% & #1?.db"
    with Store.open(url, TEST_SECRETS) as store:
        make_customer(store)
    assert (tmp_path / "a b" / "50% & #1?.db").exists()
    Store.open(url, TEST_SECRETS).close()


def test_many_threads_share_a_store(store: Store) -> None:
    world = World(store)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: world.another(name=str(i)).id, range(32)))
        seen = list(pool.map(lambda instance_id: world.row(instance_id).id, made))
    assert seen == made


def test_handles_see_each_others_commits(world: World, open_store: Callable[[], Store]) -> None:
    other = open_store()
    made = World(other)
    assert world.row(made.id).customer_id == made.customer.id
