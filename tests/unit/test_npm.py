"""What is installed for Node, and what is said where that cannot be; neither Node nor npm is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.npm import Unavailable, require_node


def test_npm_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="Node and npm are needed"):
        require_node(tmp_path)


def test_npm_is_not_asked_for_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, words in (("node", "echo 20.1.0"), ("npm", "exit 1")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{words}\n")
        program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    (tmp_path / "package.json").write_text(json.dumps({"dependencies": {"a": "1.0.0"}}))
    with pytest.raises(Unavailable, match="npm could not install"):
        require_node(tmp_path)
    (tmp_path / "node_modules" / "a").mkdir(parents=True)
    (tmp_path / "node_modules" / "a" / "package.json").write_text(json.dumps({"version": "1.0.0"}))
    (tmp_path / "node_modules" / ".whatisup-installed").touch()
    assert require_node(tmp_path) == str(tmp_path / "node")
    (tmp_path / "package.json").write_text(json.dumps({"dependencies": {"a": "1.0.1"}}))
    with pytest.raises(Unavailable, match="npm could not install"):
        require_node(tmp_path)
