"""The page that draws the document: it loads nothing from elsewhere, runs nothing but its own script, and says where
the JSON is to whoever runs no scripts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import TEST_SECRETS
from tests.integration.api.front import Front, open_front
from whatisup.store import Store

STATIC: Final = Path(__file__).resolve().parents[2] / "api" / "static"
BROWSER: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    Store.open(f"sqlite:///{tmp_path / 'front.db'}", TEST_SECRETS).close()
    async with open_front(tmp_path) as opened:
        yield opened


async def get(front: Front, path: str, accept: str = BROWSER) -> Any:
    return await front.client.get(path, headers={"Accept": accept})


def policy_of(answer: Any) -> dict[str, str]:
    parts = answer.headers["Content-Security-Policy"].split("; ")
    return dict(part.split(" ", 1) for part in parts)


async def test_page_may_run_its_own_script_and_style_and_nothing_else(front: Front) -> None:
    answer = await get(front, "/docs")
    page, policy = await answer.get_data(as_text=True), policy_of(answer)
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)


async def test_page_works_for_whoever_runs_no_scripts_as_far_as_naming_the_json(front: Front) -> None:
    page = await (await get(front, "/docs")).get_data(as_text=True)
    (said,) = re.findall(r"<noscript>(.*?)</noscript>", page)
    assert 'href="/openapi.json"' in said


async def test_root_is_the_page_for_browsers_and_an_index_for_programs(front: Front) -> None:
    page = await get(front, "/")
    assert page.content_type == "text/html; charset=utf-8"
    assert await page.get_data() == await (await get(front, "/docs")).get_data()
    index = await (await get(front, "/", "*/*")).get_json()
    for path in (index["docs"], index["openapi"]):
        assert (await get(front, path)).status_code == 200


@pytest.mark.parametrize("name", ["docs.html", "docs.css", "docs.js"])
def test_page_loads_nothing_from_elsewhere(name: str) -> None:
    text = (STATIC / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"https?:|[\"'(]//|@import|\burl\(", text) == []


def test_page_puts_everything_in_as_text() -> None:
    script = (STATIC / "docs.js").read_text(encoding="utf-8")
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|\.style\b", script) == []
    )
    page = (STATIC / "docs.html").read_text(encoding="utf-8")
    assert re.findall(r"\sstyle=|\son[a-z]+=", page) == []
