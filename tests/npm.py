"""A folder's npm packages, installed once beside its `package.json`; no lock file is written.

Rule: versions are exact, taken from that file; where Node or npm is missing, `Unavailable` says so.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

INSTALL_S = 180
NODE_MAJOR = 20
_INSTALL = (
    "install",
    "--ignore-scripts",
    "--legacy-peer-deps",
    "--no-package-lock",
    "--no-audit",
    "--no-fund",
    "--no-progress",
)


class Unavailable(Exception):
    """What is needed is not on this machine, and cannot be had; the message says what."""


def require_node(folder: Path) -> str:
    """Install the packages of that folder if they are not there yet; Node's path.

    Raises:
        Unavailable: no Node, an old one, no npm, or npm could not install them.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Unavailable("Node and npm are needed, and are not installed")
    version = node_version(node)
    if int(version.split(".")[0]) < NODE_MAJOR:
        raise Unavailable(f"Node {NODE_MAJOR} is needed, this is {version}")
    with (folder / "package.json").open() as manifest:
        # Several processes may want it at once.
        fcntl.flock(manifest, fcntl.LOCK_EX)
        wanted: Mapping[str, str] = json.load(manifest)["dependencies"]
        if not _is_installed(folder, wanted):
            _install(npm, folder)
    return node


def node_version(node: str) -> str:
    """Node's version, e.g. `20.20.2`."""
    words = [node, "-p", "process.versions.node"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _done(folder: Path) -> Path:
    return folder / "node_modules" / ".whatisup-installed"


def _is_installed(folder: Path, wanted: Mapping[str, str]) -> bool:
    return _done(folder).exists() and all(_version(folder, name) == version for name, version in wanted.items())


def _version(folder: Path, name: str) -> str | None:
    path = folder / "node_modules" / name / "package.json"
    return str(json.loads(path.read_text())["version"]) if path.exists() else None


def _install(npm: str, folder: Path) -> None:
    try:
        subprocess.run([npm, *_INSTALL], cwd=folder, check=True, capture_output=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"npm did not install what is needed within {INSTALL_S} s") from None
    except subprocess.CalledProcessError as error:
        words = [line for line in error.stderr.decode("utf-8", "replace").splitlines() if "error" in line]
        raise Unavailable(f"npm could not install what is needed: {words[0] if words else error}") from None
    _done(folder).touch()
