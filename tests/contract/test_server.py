"""The running server against its own document: schemathesis in all its phases, with all its checks.

Rule: nothing is excused but what `hooks.py` names. Every operation of the document takes part, the new ones by
themselves; WHATISUP_CONTRACT_EXAMPLES asks for more cases an operation, WHATISUP_CONTRACT_SEED for others.

What has no end or takes long is bounded there: the event log is asked for pages (streams have tests of their own), a
webhook's URL always means the receiver of this run, and what destroys gets spare things to destroy.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from api.problems import CODES
from api.routes import ENDPOINTS
from api.routes.openapi import codes_of
from tests.contract.world import World, configuration, environment, open_world

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = int(os.environ.get("WHATISUP_CONTRACT_EXAMPLES", "10"))
SEED: Final = int(os.environ.get("WHATISUP_CONTRACT_SEED", "1"))
PHASES: Final = "examples,coverage,fuzzing,stateful"
LEAST_CASES: Final = 2000

# The document itself is fetched once, before anything is tried, and held to its schema in `test_drift.py`.
FETCHED: Final = {"get_openapi"}


async def contract_run(world: World, folder: Path) -> tuple[int, str, list[dict[str, Any]]]:
    """Run schemathesis in a process of its own; its exit code, what it said, and every answer."""
    (folder / "schemathesis.toml").write_text(configuration(world, max_examples=EXAMPLES, seed=SEED), encoding="utf-8")
    log = folder / "answers.jsonl"
    words = ["--config-file", "schemathesis.toml", "run", f"{world.url}/openapi.json"]
    words += ["--phases", PHASES, "--checks", "all", "--warnings", "off", "--no-color"]
    ours = {"SCHEMATHESIS_HOOKS": "tests.contract.hooks", "PYTHONPATH": str(ROOT), "CONTRACT_LOG": str(log)}
    done = await trio.run_process(
        [sys.executable, "-m", "schemathesis.cli", *words],
        cwd=folder,
        env={**os.environ, **environment(world), **ours},
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    return done.returncode, said, [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def undocumented(answers: list[dict[str, Any]]) -> set[tuple[str, int, str]]:
    """Codes that an operation answered with and does not name, or under another status than theirs."""
    named = {endpoint.name: codes_of(endpoint) for endpoint in ENDPOINTS}
    return {
        (row["operation"], row["status"], row["code"])
        for row in answers
        if row["code"] is not None
        and row["asked"] == row["declared"]
        and (row["code"] not in named[row["operation"]] or CODES[row["code"]].status != row["status"])
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_server_keeps_every_word_of_its_document(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        with trio.fail_after(840):
            status, said, answers = await contract_run(world, tmp_path)
        log = world.log.read_text(encoding="utf-8")
    assert status == 0, f"see below\n{said[-20_000:]}"
    assert undocumented(answers) == set()
    assert len(answers) >= LEAST_CASES
    succeeded = {row["operation"] for row in answers if row["status"] < 300}
    assert {endpoint.name for endpoint in ENDPOINTS} - succeeded == FETCHED
    assert {row["code"] for row in answers if row["status"] >= 500} <= {"no_qr"}
    assert re.findall(r".*request\.failed.*", log) == []
