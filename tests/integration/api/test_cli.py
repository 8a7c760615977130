"""The command line on a store of its own: what it prints, writes and refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from api.cli import COMMANDS, main
from tests.conftest import TEST_SECRETS
from whatisup.settings import SETTINGS
from whatisup.store import ApiKey, Store, keys

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    for setting in SETTINGS:
        monkeypatch.delenv(setting.name, raising=False)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{folder / 'front.db'}")
    monkeypatch.setenv("SECRETS_KEY", TEST_SECRETS.key)
    monkeypatch.setenv("API_KEY_PEPPER", TEST_SECRETS.pepper)
    monkeypatch.setenv("WHATISUP_PORT", "0")  # whoever else listens on this machine is none of our business

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["whatisup", *words])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def authenticate(folder: Path, secret: str) -> object:
    with Store.open(f"sqlite:///{folder / 'front.db'}", TEST_SECRETS) as store:
        return store.read(keys.authenticate, secret, 0)


def make_customer(run: Run) -> str:
    code, out, _ = run("customers", "create", "Ada & Co")
    assert code == 0
    return out.strip()


def test_customers_are_created_and_listed(run: Run) -> None:
    customer_id = make_customer(run)
    code, out, _ = run("customers", "list")
    assert code == 0
    assert out.startswith(customer_id)
    assert out.rstrip().endswith("Ada & Co")


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 201])
def test_customer_of_a_strange_name_is_refused(run: Run, name: str) -> None:
    assert run("customers", "create", name)[0] == 2


@pytest.mark.parametrize("mode", ["live", "test"])
def test_key_goes_into_a_private_file_and_opens_the_door(run: Run, folder: Path, mode: str) -> None:
    customer_id = make_customer(run)
    code, out, err = run("keys", "create", "--customer", customer_id, "--mode", mode)
    path = folder / "front.db.keys"
    assert code == 0
    assert str(path) in out
    assert path.stat().st_mode & 0o777 == 0o600
    secret = path.read_text().split()[-1]
    assert secret.startswith(f"zpk_{mode}_")
    assert secret not in out + err
    found = authenticate(folder, secret)
    assert isinstance(found, ApiKey)
    assert found.customer_id == customer_id


def test_keys_are_listed_without_secrets_and_revoked(run: Run, folder: Path) -> None:
    customer_id = make_customer(run)
    run("keys", "create", "--customer", customer_id, "--name", "mine", "--expires-in-days", "3")
    secret = (folder / "front.db.keys").read_text().split()[-1]
    _, listed, _ = run("keys", "list", "--customer", customer_id)
    key_id = listed.split()[0]
    assert "mine" in listed
    assert secret not in listed
    assert run("keys", "revoke", "--customer", customer_id, key_id)[0] == 0
    assert str(authenticate(folder, secret)) == "expired"
    assert run("keys", "list", "--customer", customer_id)[1] == ""
    assert "revoked" in run("keys", "list", "--customer", customer_id, "--all")[1]


def test_key_is_made_with_scopes_and_says_so(run: Run, folder: Path) -> None:
    customer_id = make_customer(run)
    wish = ("--scope", "audit", "--scope", "keys", "--scope", "audit")
    assert run("keys", "create", "--customer", customer_id, *wish)[0] == 0
    found = authenticate(folder, (folder / "front.db.keys").read_text().split()[-1])
    assert isinstance(found, ApiKey)
    assert found.scopes == ("audit", "keys")
    assert "may audit, keys" in run("keys", "list", "--customer", customer_id)[1]
    assert run("keys", "create", "--customer", customer_id, "--scope", "everything")[0] == 2


def test_limits_are_shown_set_and_given_back(run: Run) -> None:
    customer_id = make_customer(run)
    as_settings = "60 at once, 1 a second (as the settings say)"
    assert f"live: {as_settings}" in run("customers", "limits", customer_id)[1]
    _, shown, _ = run("customers", "limits", customer_id, "--burst", "5", "--per-s", "0.5")
    assert "live: 5 at once, 0.5 a second\n" in shown
    assert "test: 200 at once, 200 a second (as the settings say)" in shown
    assert (
        "test: no limit" in run("customers", "limits", customer_id, "--mode", "test", "--burst", "1", "--per-s", "0")[1]
    )
    assert "live: 5 at once, 0.5 a second  test: no limit" in run("customers", "list")[1]
    assert f"live: {as_settings}" in run("customers", "limits", customer_id, "--default")[1]
    assert "live" not in run("customers", "list")[1]


@pytest.mark.parametrize(
    "words", [("--burst", "5"), ("--per-s", "1"), ("--default", "--burst", "5", "--per-s", "1"), ("--burst", "0")]
)
def test_half_a_limit_is_refused(run: Run, words: tuple[str, ...]) -> None:
    assert run("customers", "limits", make_customer(run), *words)[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        ("customers", "limits", "cust_unknown"),
        ("keys", "create", "--customer", "cust_unknown"),
        ("keys", "list", "--customer", "cust_unknown"),
        ("keys", "revoke", "--customer", "cust_unknown", "key_1"),
        ("keys", "create"),
        ("serve", "--port", "70000"),
        ("nonsense",),
    ],
)
def test_wrong_words_end_with_2(run: Run, words: tuple[str, ...]) -> None:
    code, _, err = run(*words)
    assert code == 2
    assert "Error" in err


@pytest.mark.parametrize("command", ["serve", "config", "migrate"])
def test_wrong_setting_ends_with_2_and_its_name(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("HEARTBEAT_INTERVAL_MS", "soon")
    code, _, err = run(command)
    assert code == 2
    assert "HEARTBEAT_INTERVAL_MS" in err


def test_config_shows_every_setting_and_no_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://gateway:hunter2@db/whatisup")
    monkeypatch.setenv("WHATISUP_PORT", "8099")
    code, out, _ = run("config")
    assert code == 0
    assert [s.name for s in SETTINGS if f"{s.name}=" not in out or s.meaning not in out] == []
    assert "WHATISUP_PORT=8099" in out
    for secret in ("hunter2", TEST_SECRETS.key, TEST_SECRETS.pepper):
        assert secret not in out


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://gateway:hun/ter2@db/whatisup",
        "postgresql://gateway:hun@ter2@db/whatisup",
        "postgresql://gateway@db/whatisup?sslmode=require&password=hunter2",
        "postgresql:///whatisup?user=x&sslpassword=hunter2&connect_timeout=3",
    ],
)
def test_config_masks_a_password_wherever_it_stands(run: Run, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    code, out, _ = run("config")
    assert code == 0
    assert "ter2" not in out
    assert "whatisup" in out.partition("DATABASE_URL=")[2].partition("\n")[0]


def test_doctor_finds_a_sound_store(run: Run) -> None:
    code, out, _ = run("doctor")
    assert (code, "WRONG" in out) == (0, False)
    assert "canary" in out


def test_doctor_names_a_wrong_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRETS_KEY", "another key, of thirty-two letters")
    code, out, _ = run("doctor")
    assert code == 1
    assert "WRONG  secrets" in out
    assert "-> set SECRETS_KEY" in out


def test_doctor_makes_no_store(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{folder / 'none.db'}")
    code, out, _ = run("doctor")
    assert (code, "does not exist yet" in out) == (0, True)
    assert not [path for path in folder.iterdir() if path.name.startswith("none")]


@pytest.mark.parametrize("words", [("customers", "list"), ("keys", "list"), ("secrets", "rotate")], ids=" ".join)
def test_a_command_that_looks_at_a_store_makes_none(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{folder / 'none.db'}")
    customer = ("--customer", "cust_1") if words[0] == "keys" else ()
    code, _, err = run(*words, *customer)
    assert (code, "there is no store at" in err, "DATABASE_URL" in err) == (2, True, True)
    assert not [path for path in folder.iterdir() if path.name.startswith("none")]


def test_secrets_rotate_lets_the_old_key_go(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    make_customer(run)
    monkeypatch.setenv("SECRETS_KEY", "a new key, of thirty-two letters!!")
    assert run("migrate")[0] == 1
    monkeypatch.setenv("SECRETS_KEY_PREVIOUS", TEST_SECRETS.key)
    code, out, _ = run("secrets", "rotate")
    assert (code, out.split()[0]) == (0, "1")
    monkeypatch.delenv("SECRETS_KEY_PREVIOUS")
    assert run("customers", "list")[0] == 0


def test_help_lists_every_command_without_importing_one(run: Run) -> None:
    before = {name for name in sys.modules if name.startswith("api.cli.")}
    code, out, _ = run("--help")
    assert code == 0
    assert [name for name in COMMANDS if name not in out] == []
    assert {name for name in sys.modules if name.startswith("api.cli.")} == before


@pytest.mark.parametrize("command", COMMANDS)
def test_command_has_help(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert out.startswith(f"Usage: whatisup {command}")


IMPORTED = """
import sys
from api.cli import main
sys.argv = ["whatisup", "serve", "--help"]
try:
    main()
finally:
    print(sorted({"alembic", "anyio", "psycopg", "pygments", "rich", "structlog"} & set(sys.modules)))
    import rich
"""


def test_gateway_imports_nothing_because_it_happens_to_be_installed() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "['structlog']"
