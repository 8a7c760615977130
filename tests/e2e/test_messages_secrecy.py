"""No body, key or secret in any log, at the level that logs everything: a scene is played, and then the logs are read.

Whatever in the logs looks like bytes (hexadecimal, base64, Python's own escapes) is decoded and compared with all keys
that either side keeps, eight bytes at a time: a part of a key is found as well as a whole one.
"""

from __future__ import annotations

import ast
import base64
import binascii
import hashlib
import re
import secrets
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import LOG_LEVEL
from tests.e2e.talk import Chat, eventually, open_chat, text
from tests.e2e.world import World
from whatisup.control import FaultRequest, Scope
from whatisup.store import auth
from whatisup.store.secrets import Secrets
from whatisup.store.store import Store

WINDOW = 8
# Fewer different bytes than this in a window are padding, counters or lengths, and no key.
VARIED = 6

KEYS = ("credentials", "account", "session", "identity", "sender_key", "skey", "token")

_HEX = re.compile(rb"[0-9a-fA-F]{16,}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{12,}")
_QUOTED = re.compile(rb"b(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")")


# --- what is looked for -----------------------------------------------------------------------------------------------


def windows(data: bytes) -> Iterator[bytes]:
    for start in range(len(data) - WINDOW + 1):
        window = data[start : start + WINDOW]
        if len(set(window)) >= VARIED:
            yield window


def of_gateway(world: World, folder: Path) -> Iterator[bytes]:
    """The keys that the gateway keeps sealed: of its instances, their sessions and many of their prekeys."""
    copy = folder / "copy.db"
    with closing(sqlite3.connect(world.folder / "demo.db")) as live, closing(sqlite3.connect(copy)) as kept:
        live.backup(kept)
        names = kept.execute("select instance_id, kind, name from auth_state").fetchall()
        prekeys = kept.execute("select instance_id, prekey_id from prekeys order by random() limit 500").fetchall()
    given = world.gateway._secrets
    with Store.open(f"sqlite:///{copy}", Secrets(given["SECRETS_KEY"], given["API_KEY_PEPPER"])) as store:

        def read(conn: Any, vault: Any) -> list[bytes | None]:
            kept = [auth.get(conn, vault, *name) for name in names if name[1] in KEYS]
            return kept + [auth.prekey(conn, vault, *one) for one in prekeys]

        yield from (value for value in store.read(read) if value)


def of_sandbox(world: World, folder: Path) -> Iterator[bytes]:
    """The keys of the simulated phones, of their sessions and of the server."""
    for path in world.folder.glob("sandbox.state*"):  # it lets nobody else open the original
        shutil.copy(path, folder)
    with closing(sqlite3.connect(folder / "sandbox.state")) as state:
        for query in (
            "select identity from accounts",
            "select value from people_keys where kind in ('session', 'identity')",
            "select value from secrets",
            "select secret from people_sent where secret is not null",
        ):
            yield from (row[0] for row in state.execute(query))


# --- where it is looked for -------------------------------------------------------------------------------------------


def bytes_in(log: bytes) -> Iterator[bytes]:
    """Whatever a log may have been meant to say in bytes."""
    yield log
    for found in set(_HEX.findall(log)):
        for start in (0, 1):
            digits = found[start:]
            yield binascii.unhexlify(digits[: len(digits) // 2 * 2])
    for found in set(_BASE64.findall(log)):
        plain = found.replace(b"-", b"+").replace(b"_", b"/")
        for start in range(4):
            digits = plain[start:]
            yield base64.b64decode(digits[: len(digits) // 4 * 4])
    for found in set(_QUOTED.findall(log.replace(b"\\\\", b"\\"))):
        try:
            yield ast.literal_eval(found.decode("latin-1"))
        except (SyntaxError, ValueError):
            continue


def leaks(log: bytes, kept: Iterable[bytes]) -> set[bytes]:
    """The windows of what is kept that can be read in a log."""
    known = {window for value in kept for window in windows(value)}
    return {window for said in bytes_in(log) for window in windows(said) if window in known}


@pytest.mark.parametrize(
    "written", [bytes.hex, base64.b64encode, base64.urlsafe_b64encode, repr, lambda key: repr(f"x{key!r}y"), bytes]
)
@pytest.mark.parametrize("part", [slice(None), slice(3, 15)])
def test_detector_finds_a_key_in_whatever_form(written: Any, part: slice) -> None:
    key = hashlib.sha256(b"a key").digest()  # the same each time: what is quoted has forms without end
    said = written(key[part])
    line = said if isinstance(said, bytes) else said.encode()
    assert leaks(b'{"event": "oops", "key": "' + line + b'"}', [key])
    assert not leaks(line, [secrets.token_bytes(32)])


# --- the scene --------------------------------------------------------------------------------------------------------


def bodies(word: str) -> Iterator[dict[str, Any]]:
    yield text(f"text-{word}")
    yield {"type": "location", "latitude": 12.5, "longitude": 99.25, "name": f"place-{word}", "address": f"road-{word}"}
    yield {"type": "contact", "contacts": [{"name": f"card-{word}", "phone_number": "15550001111"}]}
    yield {"type": "poll", "name": f"poll-{word}", "options": [f"one-{word}", f"two-{word}"]}


async def talk(chat: Chat, out: str, back: str) -> None:
    """Everything that can be said, said and misunderstood, both ways."""
    await chat.greet()
    for body in bodies(out):
        sent = await chat.write(body)
        await chat.told("message.delivered", message_id=sent["message_id"])
    for body in bodies(back):
        await chat.heard(await chat.say(body))
    for fault in ("corrupt-mac", "unavailable", "duplicate"):
        await chat.harm_instance(fault)
        await chat.heard(await chat.say(f"text-{back} {fault}"))
    for fault in ("corrupt-mac", "no-session", "retry-storm"):
        await chat.harm_contact(fault)
        sent = await chat.write(f"text-{out} {fault}")
        await chat.told("message.delivered", message_id=sent["message_id"])


async def stumble(chat: Chat, word: str) -> None:
    """What goes wrong with the socket, with requests and with the actor itself, which logs how it died."""
    for fault in ("malformed-node", "garbage", "drop-before-ack"):
        since = chat.world.journal.mark()
        await chat.harm_instance(fault)
        await chat.write(f"text-{word} {fault}")
        if fault != "malformed-node":
            await chat.number.seen("instance.connected", since=since)
    path = f"{chat.path}/messages"
    wrong: list[dict[str, Any]] = [
        {"to": chat.contact, "body": {"type": "text", "txt": f"text-{word}"}},
        {"to": f"text-{word}", "body": text("x")},
        {"to": chat.contact, "body": {"type": "image", "caption": f"text-{word}"}},
        {"to": chat.contact, "body": {"type": f"text-{word}"}},
    ]
    for body in wrong:
        assert (await chat.world.api.ask("POST", path, body)).status == 422
    await chat.world.sicken(chat.number)
    await chat.world.control().arm(FaultRequest("drop", Scope(chat.number.number)))

    async def crashes() -> int:
        return chat.world.log_count("instance.crashed", chat.number)

    await eventually(crashes, bool, "the actor has died of it")


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_no_log_tells_a_body_a_key_or_a_secret(world: World, tmp_path: Path) -> None:
    out, back, wrong = (secrets.token_hex(6) for _ in range(3))
    chat = await open_chat(await world.pair(), name="Grace")
    await talk(chat, out, back)
    kept = [*of_gateway(world, tmp_path), *of_sandbox(world, tmp_path)]
    await stumble(chat, wrong)
    log = b"".join((world.folder / name).read_bytes() for name in ("gateway.log", "sandbox.log"))
    assert b'"level": "debug"' in log or LOG_LEVEL != "debug", "the logs are those of the lowest level"
    assert log.count(chat.number.instance_id.encode()) > 5, "the scene is in the logs"
    for word in (out, back, wrong):
        assert word.encode() not in log
    for secret in (world.api.key, world.ready["token"], *world.gateway._secrets.values()):
        assert secret is not None
        assert secret.encode() not in log
    assert len(kept) > 50
    assert leaks(log, kept) == set()


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_no_file_of_the_gateway_holds_a_body_in_the_clear(world: World) -> None:
    out, back = secrets.token_hex(6), secrets.token_hex(6)
    chat = await open_chat(await world.pair(), name="Grace")
    await chat.write(f"text-{out}")
    await chat.say(f"text-{back}")
    await chat.rest()
    files = {path.name: path.read_bytes() for path in world.folder.glob("demo.db*")}
    assert sum(len(content) for content in files.values()) > 100_000
    for word in (out, back):
        assert [name for name, content in files.items() if word.encode() in content] == []
