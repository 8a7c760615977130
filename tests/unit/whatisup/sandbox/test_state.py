from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from whatisup.crypto import generate_keypair
from whatisup.errors import StoreUnavailable
from whatisup.protocol.prekeys import PublicIdentity, PublicSignedPrekey
from whatisup.sandbox import state as state_module
from whatisup.sandbox.accounts import Account, Companion
from whatisup.sandbox.entropy import Seed
from whatisup.sandbox.state import State
from whatisup.sandbox.waiting import Clearing, WaitingTable
from whatisup.wire import Node

NUMBER = "999000000001"
SKEY = PublicSignedPrekey(1, b"s" * 32, b"S" * 64)


def an_account(number: str = NUMBER, lid: str = "100000000000001") -> Account:
    identity = generate_keypair(Seed.of(1).stream(number))
    return Account(number, lid, "Ada", identity, raw_id=2**32 - 1, registration_id=77, created_at=123)


def a_companion(device: int = 1, number: str = NUMBER) -> Companion:
    public = PublicIdentity(2**32 - 1, b"i" * 32, SKEY)
    return Companion(
        row=0,
        number=number,
        lid="100000000000001",
        device=device,
        key_index=device,
        noise_public=b"n" * 32,
        public=public,
        signed_identity=b"signed",
        routing_info=bytes([device]),
        linked_at=456,
    )


@pytest.fixture
def state() -> Iterator[State]:
    opened = State.open(None)
    yield opened
    opened.close()


@pytest.fixture
def device(state: State) -> int:
    state.add_account(an_account())
    return state.link(a_companion()).row


def test_state_returns_an_account_as_it_was_added(state: State) -> None:
    assert state.add_account(an_account())
    assert state.account(NUMBER) == an_account()
    assert state.account_of_lid("100000000000001") == an_account()
    assert state.accounts() == [an_account()]


def test_state_refuses_a_number_or_hidden_id_twice(state: State) -> None:
    assert state.add_account(an_account())
    assert not state.add_account(an_account())
    assert not state.add_account(an_account(number="999000000002"))
    assert state.count_accounts() == 1


def test_state_returns_a_companion_as_it_was_linked(state: State, device: int) -> None:
    stored = state.companion(NUMBER, 1)
    assert stored is not None
    assert stored.row == device
    assert (stored.public, stored.signed_identity, stored.linked_at) == (a_companion().public, b"signed", 456)
    assert state.companion_of_routing(b"\x01") == stored
    assert state.companion_of_routing(b"\x02") is None


def test_state_gives_out_the_smallest_free_device(state: State, device: int) -> None:
    assert state.free_device(NUMBER) == 2
    assert state.free_device(NUMBER, reserved=[2]) == 3
    state.unlink(device)
    assert state.free_device(NUMBER) == 1


def test_state_never_gives_a_key_index_twice(state: State, device: int) -> None:
    assert [state.next_key_index(NUMBER) for _ in range(3)] == [1, 2, 3]


def test_state_pops_each_prekey_once(state: State, device: int) -> None:
    keys = [(key_id, bytes([key_id]) * 32) for key_id in range(1, 5)]
    assert state.add_prekeys(device, keys, SKEY)
    popped = [state.take_prekey(device) for _ in range(5)]
    assert popped == [*keys, None]
    assert state.count_prekeys(device) == 0


def test_state_does_not_revive_a_used_prekey_that_is_uploaded_again(state: State, device: int) -> None:
    state.add_prekeys(device, [(1, b"a" * 32), (2, b"b" * 32)], SKEY)
    state.take_prekey(device)
    state.add_prekeys(device, [(1, b"a" * 32), (2, b"b" * 32)], SKEY)
    assert state.prekeys(device) == [(2, b"b" * 32)]


def test_state_takes_another_key_under_a_used_id(state: State, device: int) -> None:
    state.add_prekeys(device, [(1, b"a" * 32)], SKEY)
    state.take_prekey(device)
    state.add_prekeys(device, [(1, b"c" * 32)], SKEY)
    assert state.take_prekey(device) == (1, b"c" * 32)


def test_state_bounds_the_prekeys_of_a_device(state: State, device: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "MAX_PREKEYS", 3)
    assert state.add_prekeys(device, [(1, b"a" * 32), (2, b"b" * 32)], SKEY)
    assert not state.add_prekeys(device, [(3, b"c" * 32), (4, b"d" * 32)], SKEY)
    assert state.count_prekeys(device) == 2


def test_state_forgets_everything_of_an_unlinked_device(state: State, device: int) -> None:
    state.add_prekeys(device, [(1, b"a" * 32)], SKEY)
    waiting = WaitingTable(state)
    waiting.add(device, Node("notification", {"id": "a"}), Clearing.ACK, unix=1)
    state.unlink(device)
    waiting.forget_device(device)
    assert state.companion(NUMBER, 1) is None
    assert state.count_prekeys(device) == 0
    assert waiting.count(device) == 0


def test_state_takes_back_what_it_cached_with_what_it_wrote(state: State, device: int) -> None:
    told: list[str] = []

    def write_and_fail() -> None:
        with state.writing():
            state.rename(NUMBER, "Eve")
            assert state.account(NUMBER) != an_account()
            state.on_commit(lambda: told.append("too early"))
            raise RuntimeError("something went wrong")

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert state.account(NUMBER) == an_account()
    assert told == []


def test_state_tells_once_it_is_written(state: State, device: int) -> None:
    told: list[str] = []
    with state.writing():
        with state.writing():
            state.on_commit(lambda: told.append("later"))
        assert told == []
    assert told == ["later"]
    state.on_commit(lambda: told.append("at once"))
    assert told == ["later", "at once"]


def test_state_of_the_version_before_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.db"
    state = State.open(str(path))
    state.add_account(an_account())
    state.connection.executescript(
        "ALTER TABLE accounts DROP COLUMN tenant; DROP TABLE sent; DROP TABLE written; DROP TABLE tokens;"
        " DROP TABLE blocks; PRAGMA user_version = 1;"
    )
    state.close()
    again = State.open(str(path))
    assert again.account(NUMBER) == an_account()
    assert WaitingTable(again).count(1) == 0
    again.close()


def test_state_file_is_ours_alone_and_remembers(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.db"
    state = State.open(str(path))
    state.add_account(an_account())
    row = state.link(a_companion()).row
    state.add_prekeys(row, [(1, b"a" * 32), (2, b"b" * 32)], SKEY)
    state.take_prekey(row)
    assert (state.count("runs"), state.secret("root", lambda: b"one")) == (1, b"one")
    state.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    again = State.open(str(path))
    assert again.companion(NUMBER, 1) is not None
    assert again.prekeys(row) == [(2, b"b" * 32)]
    assert (again.count("runs"), again.secret("root", lambda: b"two")) == (2, b"one")
    again.close()


def test_state_file_is_refused_to_a_second_sandbox(tmp_path: Path) -> None:
    path = str(tmp_path / "sandbox.db")
    first = State.open(path)
    with pytest.raises(StoreUnavailable, match="locked"):
        State.open(path)
    first.close()
    State.open(path).close()


def test_state_file_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database" * 100)
    with pytest.raises(StoreUnavailable):
        State.open(str(path))
    assert path.read_text().startswith("not a database")


def test_units_are_on_disk_once_settled_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "state"
    state = State.open(str(path))
    state.count("units")
    state.settle()
    state.count("units")
    killed = shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-killed")
    assert _count(killed / "state") == 2
    state.close()
    assert _count(path) == 3


def test_unit_that_fails_takes_no_other_back(tmp_path: Path) -> None:
    state = State.open(str(tmp_path / "state"))
    heard: list[str] = []
    with state.writing():
        state.count("units")
        state.on_commit(lambda: heard.append("first"))

    def fail() -> None:
        with state.writing(), state.writing():
            state.count("units")
            state.on_commit(lambda: heard.append("second"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert heard == ["first"]
    state.close()
    assert _count(tmp_path / "state") == 2


def _count(path: Path) -> int:
    state = State.open(str(path))
    counted = state.count("units")
    state.close()
    return counted


def test_what_cannot_be_written_late_ends_the_state_and_is_not_written_by_halves(tmp_path: Path) -> None:
    path = str(tmp_path / "sandbox.db")
    state = State.open(path)
    state.settle()
    numbers = [1, 1 << 70]  # no integer of SQLite's

    def write() -> None:
        rows = [(f"number {number}", number) for number in numbers]
        state.connection.executemany("INSERT INTO counters VALUES (?, ?)", rows)

    state.before_commit(write)
    state.undo_by(lambda: None)
    with pytest.raises(StoreUnavailable):
        state.settle()
    numbers.pop()
    with pytest.raises(StoreUnavailable):
        state.settle()
    state.close()
    state = State.open(path)
    assert state.connection.execute("SELECT count(*) FROM counters").fetchone() == (0,)
    state.close()
