"""The machine that a run was made on: what its figures depend on and nobody can see from them.

Rule: nothing that names the machine or its owner; what cannot be found out is left out.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import psutil

LIBRARIES = ("trio", "wsproto", "h11", "hypercorn", "quart", "SQLAlchemy", "cryptography", "msgspec")
_BAILEYS = Path(__file__).resolve().parents[1] / "baileys"
_FLUSHES = 40
_BLOCK = b"\0" * 4096


def machine(folder: Path) -> dict[str, Any]:
    """What figures of runs in `folder` depend on; takes a fraction of a second, for some flushes to its disk."""
    flush_p50_ms, flush_max_ms = flushes_ms(folder)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_1min": os.getloadavg()[0],
        "cpu": cpu_model(_text("/proc/cpuinfo")),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "file_system": file_system(folder, _text("/proc/self/mounts")),
        "fsync_p50_ms": flush_p50_ms,
        "fsync_max_ms": flush_max_ms,
        "python": platform.python_version(),
        "node": _node(),
        "baileys": _baileys(_BAILEYS),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def cpu_model(cpuinfo: str) -> str:
    """The processor's name, or at least its architecture."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return re.sub(r"\s+", " ", found[1]).strip() if found else platform.machine()


def file_system(folder: Path, mounts: str) -> str:
    """The type of the file system that holds `folder`, by the longest mount point above it."""
    best, kind = "", "unknown"
    for line in mounts.splitlines():
        words = line.split()
        if len(words) < 3:
            continue
        point = words[1].replace("\\040", " ")
        if len(point) >= len(best) and folder.resolve().is_relative_to(point):
            best, kind = point, words[2]
    return kind


def flushes_ms(folder: Path) -> tuple[float, float]:
    """Median and longest time of writing 4 KiB and flushing them to the disk, in milliseconds."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(_FLUSHES):
            begun_at = time.perf_counter()
            file.write(_BLOCK)
            file.flush()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - begun_at) * 1000)
    return median(times), max(times)


def _node() -> str | None:
    program = shutil.which("node")
    if program is None:
        return None
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=10)
    return said.stdout.strip().removeprefix("v") or None


def _baileys(folder: Path) -> str | None:
    """The version that is installed, or else the one that would be."""
    for path in sorted(folder.glob("node_modules/**/baileys/package.json")):
        return str(json.loads(path.read_text(encoding="utf-8"))["version"])
    try:
        wanted: Mapping[str, str] = json.loads((folder / "package.json").read_text(encoding="utf-8"))["dependencies"]
    except (OSError, KeyError, ValueError):
        return None
    return next((number for name, number in wanted.items() if name.endswith("baileys")), None)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def described(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The same for people: what, and how much of it."""
    gib = found.get("memory_bytes", 0) / 1024**3
    libraries = ", ".join(f"{name} {number}" for name, number in found.get("libraries", {}).items())
    flush = f"{found['fsync_p50_ms']:.2f} ms (longest {found['fsync_max_ms']:.1f})" if "fsync_p50_ms" in found else "–"
    return [
        ("Measured", str(found.get("at", "–"))),
        ("Processor", f"{found.get('cpu', '–')}, {found.get('cores', '–')} cores"),
        ("Memory", f"{gib:.1f} GiB"),
        ("Kernel", str(found.get("kernel", "–"))),
        ("File system", f"{found.get('file_system', '–')}; 4 KiB written and flushed: {flush}"),
        ("Python", f"{found.get('python', '–')}; {libraries}"),
        ("Node", f"{found.get('node') or 'not there'}; Baileys {found.get('baileys') or 'not there'}"),
        ("Load at start", f"{found.get('load_1min', 0):.2f}"),
    ]
