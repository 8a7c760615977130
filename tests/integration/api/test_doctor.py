"""`whatisup doctor`: each thing that may be wrong, made wrong; what it says then, and that it touches nothing."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from api.bootstrap import Options, Started, run_gateway
from api.cli.checks import Finding, Level, examine, others, store, surroundings
from tests.conftest import TEST_SECRETS
from tests.integration.actors.house import open_sandbox
from tests.integration.api.front import settings_for
from whatisup.store import DatabaseLock, Origin, Store, customers, database_lock, load_secrets
from whatisup.store.checkup import Checkup, Contents
from whatisup.store.checkup import examine as look
from whatisup.store.datakeys import rewrap_all
from whatisup.store.webhook_records import QueueCounts

Doctor = Callable[..., list[Finding]]
Usage = namedtuple("Usage", "total used free")
NEW_KEY = "a new key, of thirty-two letters!!"


@pytest.fixture
def doctor(folder: Path) -> Doctor:
    """Examine a sound store; keywords are further variables, None takes one away."""

    def call(now: Callable[[], float] = time.time, **variables: str | None) -> list[Finding]:
        environment = {
            "DATABASE_URL": f"sqlite:///{folder / 'front.db'}",
            "SECRETS_KEY": TEST_SECRETS.key,
            "API_KEY_PEPPER": TEST_SECRETS.pepper,
            "WHATISUP_PORT": "0",
            **variables,
        }
        return list(examine({name: value for name, value in environment.items() if value is not None}, now))

    for path in folder.iterdir():
        path.chmod(0o600)
    return call


def bad(findings: list[Finding], level: Level = Level.WRONG) -> list[Finding]:
    return [finding for finding in findings if finding.level is level]


def only(findings: list[Finding], level: Level = Level.WRONG) -> Finding:
    (found,) = bad(findings, level)
    assert found.remedy, "who is told of trouble is told what to do"
    return found


def topics(findings: list[Finding]) -> set[str]:
    return {finding.topic for finding in findings}


def test_sound_store_needs_nothing(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings.resource, "getrlimit", lambda _: (65536, 65536))
    findings = doctor()
    assert [finding for finding in findings if finding.level is not Level.OK] == []
    assert topics(findings) == {
        "clock", "settings", "database", "secrets", "migrations", "customers", "instances", "deliveries", "server",
        "sandbox", "disk",
    }  # fmt: skip


def test_nothing_is_made_or_changed(doctor: Doctor, folder: Path) -> None:
    def state() -> dict[str, tuple[int, bytes]]:
        return {path.name: (path.stat().st_mode, path.read_bytes()) for path in folder.iterdir()}

    before = state()
    doctor()
    doctor(DATABASE_URL=f"sqlite:///{folder / 'none' / 'none.db'}", SECRETS_KEY=None)
    doctor(SECRETS_KEY=NEW_KEY)
    assert {name: before[name] for name in before} == {name: state()[name] for name in before}
    assert {name for name in state().keys() - before.keys() if not name.endswith(("-wal", "-shm"))} == set()


# --- settings, clock ------------------------------------------------------------------------------------------------


def test_wrong_setting_is_named_and_ends_the_visit(doctor: Doctor) -> None:
    findings = doctor(HEARTBEAT_INTERVAL_MS="soon")
    found = only(findings)
    assert found.topic == "settings"
    assert "HEARTBEAT_INTERVAL_MS" in found.text
    assert findings[-1] is found


def test_misspelt_setting_is_noticed(doctor: Doctor) -> None:
    (found,) = [f for f in bad(doctor(WHATISUP_PROT="80", PATH="/bin"), Level.NOTE) if f.topic == "settings"]
    assert "WHATISUP_PROT" in found.text
    assert "WHATISUP_PORT" in (found.remedy or "")


def test_clock_in_the_past(doctor: Doctor) -> None:
    assert "clock" in topics(bad(doctor(lambda: 1_000_000_000.0)))


def test_clock_that_was_set_back(doctor: Doctor) -> None:
    later = time.time() - 7200
    found = only(doctor(lambda: later))
    assert found.topic == "clock"
    assert "still to come" in found.text


@pytest.mark.parametrize(
    ("apart_s", "level"), [(1, Level.OK), (30, Level.NOTE), (300, Level.WRONG), (-300, Level.WRONG)]
)
def test_clock_apart_from_the_servers(apart_s: int, level: Level) -> None:
    now_ms = 1_800_000_000_000
    (found,) = store._skew(Checkup("0003", clock_at=now_ms + apart_s * 1000), now_ms, now_ms + 20)
    assert (found.topic, found.level) == ("clock", level)


# --- secrets --------------------------------------------------------------------------------------------------------


def test_key_that_is_missing(doctor: Doctor) -> None:
    found = only(doctor(SECRETS_KEY=None))
    assert found.topic == "secrets"
    assert "SECRETS_KEY" in (found.remedy or "")


def test_key_that_opens_nothing(doctor: Doctor) -> None:
    found = only(doctor(SECRETS_KEY=NEW_KEY))
    assert found.topic == "secrets"
    assert "another key cannot open it" in (found.remedy or "")


def test_pepper_that_is_another(doctor: Doctor) -> None:
    found = only(doctor(API_KEY_PEPPER="another pepper, of thirty-two letters"))
    assert (found.topic, "API_KEY_PEPPER" in found.text) == ("secrets", True)


def file_keys(folder: Path, mode: int) -> None:
    path = folder / "front.db.secrets"
    path.write_text(f"SECRETS_KEY={TEST_SECRETS.key}\nAPI_KEY_PEPPER={TEST_SECRETS.pepper}\n")
    path.chmod(mode)


def test_key_file_is_private_or_wrong(doctor: Doctor, folder: Path) -> None:
    file_keys(folder, 0o644)
    found = only(doctor(SECRETS_KEY=None, API_KEY_PEPPER=None))
    assert found.topic == "secrets"
    assert (found.remedy or "").startswith(f"chmod 600 {folder / 'front.db.secrets'}")
    file_keys(folder, 0o600)
    findings = doctor(SECRETS_KEY=None, API_KEY_PEPPER=None)
    assert not bad(findings)
    assert any("front.db.secrets" in finding.text for finding in findings if finding.topic == "secrets")


def test_rotation_is_half_done_then_done(doctor: Doctor, folder: Path) -> None:
    url = f"sqlite:///{folder / 'front.db'}"
    with Store.open(url, TEST_SECRETS) as opened:
        opened.call(lambda tx: customers.create(tx, name="a", origin=Origin("test"), now=tx.now))
    both = {"SECRETS_KEY": NEW_KEY, "SECRETS_KEY_PREVIOUS": TEST_SECRETS.key}
    assert "whatisup secrets rotate" in (secrets_note(doctor(**both)).remedy or "")
    with Store.open(url, load_secrets(url, NEW_KEY, TEST_SECRETS.key, TEST_SECRETS.pepper)) as opened:
        opened.call(lambda tx: rewrap_all(tx.conn, tx.vault))
    assert "SECRETS_KEY_PREVIOUS" in secrets_note(doctor(**both)).text


def secrets_note(findings: list[Finding]) -> Finding:
    (found,) = [finding for finding in bad(findings, Level.NOTE) if finding.topic == "secrets"]
    return found


def test_files_that_others_may_read(doctor: Doctor, folder: Path) -> None:
    (folder / "front.db").chmod(0o644)
    (folder / "front.db.keys").write_text("a key\n")
    notes = {finding.topic: finding.remedy for finding in bad(doctor(), Level.NOTE)}
    assert notes["database"] == f"chmod 600 {folder / 'front.db'}"
    assert "delete" in (notes["keys"] or "")


# --- database -------------------------------------------------------------------------------------------------------


def test_file_that_is_no_database(doctor: Doctor, folder: Path) -> None:
    (folder / "front.db").write_bytes(b"something else altogether" * 100)
    found = only(doctor())
    assert found.topic == "database"


def test_database_of_somebody_else(doctor: Doctor, folder: Path) -> None:
    path = folder / "theirs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    path.chmod(0o600)
    found = only(doctor(DATABASE_URL=f"sqlite:///{path}"))
    assert "of the gateway's own" in (found.remedy or "")


def test_server_that_does_not_answer(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"postgresql://user:hunter2@127.0.0.1:{port}/whatisup"
    found = only(doctor(DATABASE_URL=url))
    assert found.topic == "database"
    assert "hunter2" not in found.text


def test_folder_that_cannot_be_written(doctor: Doctor, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.os, "access", lambda *_: False)
    found = only([f for f in doctor(DATABASE_URL=f"sqlite:///{folder / 'none.db'}") if f.topic == "database"])
    assert "writable" in (found.remedy or "")


def set_revision(folder: Path, revision: str) -> None:
    with sqlite3.connect(folder / "front.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()


def test_schema_of_an_older_release_is_told_and_left(doctor: Doctor, folder: Path) -> None:
    set_revision(folder, "0001")
    found = only([f for f in doctor() if f.topic == "migrations"], Level.NOTE)
    assert "0001" in found.text
    assert "whatisup migrate" in (found.remedy or "")
    with sqlite3.connect(folder / "front.db") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
    connection.close()


def test_schema_of_a_newer_release(doctor: Doctor, folder: Path) -> None:
    set_revision(folder, "9999")
    found = only(doctor())
    assert (found.topic, "newer release" in (found.remedy or "")) == ("migrations", True)


def test_examined_postgres_has_a_clock_and_a_schema(postgres_url: str) -> None:
    found = look(postgres_url, TEST_SECRETS)
    assert found.revision == found.head
    assert found.clock_at is not None
    assert abs(found.clock_at - time.time() * 1000) < 5_000
    assert found.contents is not None
    assert found.contents.customers == 0


def test_deliveries_that_wait_for_somebody() -> None:
    queue = QueueCounts(pending=1, retrying=2, held=3, oldest_at=1_800_000_000_000)
    contents = Contents(1, {}, queue, disabled_endpoints=2, client_version=None)
    notes = bad(list(store._contents(contents, 1_800_000_000_000 + 4 * 3600 * 1000)), Level.NOTE)
    assert [finding.topic for finding in notes] == ["deliveries", "deliveries"]
    assert "replay" in (notes[1].remedy or "")


# --- other processes ------------------------------------------------------------------------------------------------


@pytest.fixture
def owner(folder: Path) -> Iterator[DatabaseLock]:
    lock = database_lock(f"sqlite:///{folder / 'front.db'}")
    assert lock.try_acquire()
    yield lock
    lock.release()


def test_owner_that_does_not_answer(doctor: Doctor, owner: DatabaseLock) -> None:
    found = only(doctor())
    assert found.topic == "server"
    assert f"process {os.getpid()} owns" in found.text


@pytest.mark.parametrize(
    ("status", "checks", "level"),
    [
        ("ready", [], Level.OK),
        ("ready", ["client"], Level.NOTE),
        ("unhealthy", ["writer"], Level.WRONG),
        ("draining", [], Level.WRONG),
    ],
)
def test_owner_says_how_it_is(
    doctor: Doctor, owner: DatabaseLock, monkeypatch: pytest.MonkeyPatch, status: str, checks: list[str], level: Level
) -> None:
    monkeypatch.setattr(others, "_readiness", lambda *_: (status, checks))
    (found,) = [finding for finding in doctor() if finding.topic == "server"]
    assert found.level is level
    assert all(name in found.text for name in checks)


async def test_running_gateway_is_found_ready(folder: Path, doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    stop = trio.Event()
    settings = settings_for(folder, WHATISUP_PORT=port)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(30):
            started: Started = await nursery.start(partial(run_gateway, settings, Options(has_sandbox=False), stop))
        assert started.urls
        findings = await trio.to_thread.run_sync(partial(doctor, WHATISUP_PORT=port))
        stop.set()
    assert not bad(findings)
    assert any("is ready" in finding.text for finding in findings if finding.topic == "server")


def test_port_that_is_taken(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = only(doctor(WHATISUP_PORT=str(taken.getsockname()[1])))
    assert (found.topic, "WHATISUP_PORT" in (found.remedy or "")) == ("server", True)


async def test_sandbox_answers_refuses_or_is_not_there(folder: Path, doctor: Doctor) -> None:
    async def sandbox(**changes: str) -> Finding:
        variables = {
            "WHATISUP_SANDBOX_URL": ready["url"],
            "WHATISUP_SANDBOX_ROOT_KEY": ready["root_public_key"],
            "WHATISUP_SANDBOX_TOKEN": ready["token"],
            **changes,
        }
        findings = await trio.to_thread.run_sync(partial(doctor, **variables))
        (found,) = [finding for finding in findings if finding.topic == "sandbox"]
        return found

    async with open_sandbox(folder) as ready:
        assert (await sandbox()).level is Level.OK
        refused = await sandbox(WHATISUP_SANDBOX_TOKEN="another token")
        assert (refused.level, "WHATISUP_SANDBOX_TOKEN" in (refused.remedy or "")) == (Level.WRONG, True)
        lost = await sandbox(WHATISUP_SANDBOX_CA_FILE=str(folder / "none.pem"))
        assert (lost.level, "WHATISUP_SANDBOX_CA_FILE" in (lost.remedy or "")) == (Level.WRONG, True)
    gone = await sandbox()
    assert (gone.level, "does not answer" in gone.text) == (Level.WRONG, True)


def test_state_of_the_sandbox_child(doctor: Doctor, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = folder / "sandbox.state"
    state.write_bytes(b"")
    state.chmod(0o644)
    findings = [f for f in doctor(WHATISUP_SANDBOX_STATE=str(state)) if f.topic == "sandbox"]
    assert only(findings, Level.NOTE).remedy == f"chmod 600 {state}"
    monkeypatch.setattr(others.os, "access", lambda *_: False)
    found = only([f for f in doctor(WHATISUP_SANDBOX_STATE=str(state)) if f.topic == "sandbox"])
    assert "WHATISUP_SANDBOX_STATE" in (found.remedy or "")


# --- surroundings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("free", "level"), [(50 << 20, Level.WRONG), (500 << 20, Level.NOTE), (50 << 30, Level.OK)])
def test_room_on_the_disk(doctor: Doctor, monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, free))
    (found,) = [finding for finding in doctor() if finding.topic == "disk"]
    assert found.level is level


def test_too_few_files(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings.resource, "getrlimit", lambda _: (1024, 4096))
    found = only([f for f in doctor(MAX_SESSIONS_PER_WORKER="5000") if f.topic == "files"], Level.NOTE)
    assert "LimitNOFILE" in (found.remedy or "")


@pytest.mark.parametrize("networks", ["0.0.0.0/0", "10.0.0.0/8,::/0"])
def test_webhooks_may_go_anywhere(doctor: Doctor, networks: str) -> None:
    found = only(doctor(WEBHOOK_ALLOW_PRIVATE_CIDRS=networks))
    assert (found.topic, "WEBHOOK_ALLOW_PRIVATE_CIDRS" in (found.remedy or "")) == ("webhooks", True)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WEBHOOK_ALLOW_PRIVATE_CIDRS", "10.0.0.0/8"),
        ("WEBHOOK_ALLOW_HTTP", "true"),
        ("WEBHOOK_FAILED_PAYLOAD_DAYS", "90"),
    ],
)
def test_webhooks_worth_a_note(doctor: Doctor, variable: str, value: str) -> None:
    findings = [finding for finding in doctor(**{variable: value}) if finding.topic == "webhooks"]
    assert variable in (only(findings, Level.NOTE).remedy or "")


def test_certificates_for_webhooks_that_are_none(doctor: Doctor, folder: Path) -> None:
    (folder / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "none.pem"):
        found = only(doctor(WEBHOOK_CA_FILE=str(folder / name)))
        assert (found.topic, "WEBHOOK_CA_FILE" in (found.remedy or "")) == ("webhooks", True)


def test_listening_where_strangers_are(doctor: Doctor) -> None:
    notes = topics(bad(doctor(WHATISUP_HOST="0.0.0.0"), Level.NOTE))
    assert notes >= {"server", "metrics"}
    assert "metrics" not in topics(bad(doctor(WHATISUP_HOST="0.0.0.0", WHATISUP_OPERATOR_TOKEN="t" * 32), Level.NOTE))


def test_traces_without_their_packages(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not bad(doctor(WHATISUP_TRACES="otlp"))
    monkeypatch.setattr(surroundings, "_has_opentelemetry", lambda: False)
    found = only(doctor(WHATISUP_TRACES="otlp"))
    assert (found.topic, "'.[otel]'" in (found.remedy or "")) == ("traces", True)
