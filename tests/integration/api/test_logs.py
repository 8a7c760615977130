"""Who a log line is about: the request, the instance, the event; and how it is written."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import structlog
import trio

from tests.integration.api.front import Front

PROGRAM = """
import structlog
from api.bootstrap import configure_logging
from whatisup.settings import Settings
configure_logging(Settings.from_environment({ENVIRONMENT}))
with structlog.contextvars.bound_contextvars(request_id="req_1"):
    structlog.get_logger().info("said", n=1)
    import logging
    logging.getLogger("some.library").warning("heard")
"""


def lines(capsys: pytest.CaptureFixture[str], word: str) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if word in line]


async def test_request_is_named_in_whatever_it_logs(
    front: Front, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told(*_: object) -> None:
        structlog.get_logger().info("deep.down")
        raise RuntimeError("of a test")

    monkeypatch.setattr(front.edge.census, "count", told)
    answer = await front.client.get(
        "/metrics", scope_base={"client": ("127.0.0.1", 50_000)}, headers={"X-Request-Id": "mine-1"}
    )
    assert answer.status_code == 500
    shown = lines(capsys, "mine-1")
    assert [name for name in ("deep.down", "request.failed", "problem=internal_error") if name not in str(shown)] == []
    await front.client.get("/healthz")
    assert not lines(capsys, "mine-1"), "the next request has an id of its own"


async def test_instance_is_named_and_not_the_request_that_woke_it(
    front: Front, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await front.holder()
    instance_id = await alice.create()
    # Whatever the actor logs, without naming itself.
    monkeypatch.setattr("actors.instance.actor.should_run", lambda *_: structlog.get_logger().info("actor.asked"))
    await alice.ask("POST", f"/v1/instances/{instance_id}/stop", X_Request_Id="mine-2")
    shown: list[str] = []
    with trio.fail_after(5):
        while not shown:
            await trio.sleep(0.01)
            shown = lines(capsys, "actor.asked")
    assert all(f"instance_id={instance_id}" in line for line in shown)
    assert not [line for line in shown if "mine-2" in line]


def run(environment: dict[str, str]) -> list[str]:
    program = PROGRAM.replace("{ENVIRONMENT}", repr(environment))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_lines_are_json_where_nobody_looks_and_words_where_asked() -> None:
    said, heard = [json.loads(line) for line in run({})]
    assert (said["event"], said["n"], said["request_id"], said["level"]) == ("said", 1, "req_1", "info")
    assert (heard["event"], heard["request_id"]) == ("heard", "req_1")
    said_line, _ = run({"WHATISUP_LOG_FORMAT": "console"})
    assert "said" in said_line
    assert not said_line.startswith("{")
    assert run({"WHATISUP_LOG_LEVEL": "error"}) == []


def test_value_that_hides_what_it_holds_hides_it_in_a_line_too() -> None:
    """msgspec writes structs and dataclasses out in full, `repr=False` or not."""
    program = """
import structlog
from api.bootstrap import configure_logging
from whatisup.crypto import KeyPair
from whatisup.settings import Settings
from whatisup.wire.node import Node
settings = Settings.from_environment({"WHATISUP_LOG_FORMAT": "json"})
configure_logging(settings)
pair = KeyPair(b"secret" * 5 + b"..", bytes(32))
structlog.get_logger().info("said", pair=pair, node=Node("enc", {}, b"secret"), several=[pair], settings=settings)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    line = json.loads(ran.stderr)
    assert line["pair"] == f"KeyPair(public={bytes(32).hex()})"
    assert "c2VjcmV0" not in ran.stderr  # "secret" in base64
    assert 'secret"' not in ran.stderr
    assert "pepper" not in ran.stderr.replace("pepper=***", "")
