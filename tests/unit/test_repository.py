"""What people read and what machines run must agree with the code: documents, settings, packaging, make targets."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from api.bootstrap import lines_to_try
from whatisup.lifecycle import State, mermaid
from whatisup.settings import SETTINGS, Setting

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("deploy/*.md"), *ROOT.glob("benchmarks/*.md")])
TARGETS = ("run", "demo", "test", "check", "bench", "fmt", "proto", "clean", "help")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def between(text: str, name: str) -> str:
    return text.split(f"<!-- {name}:begin -->\n")[1].split(f"<!-- {name}:end -->")[0]


def shown_default(setting: Setting) -> str:
    if setting.default is None:
        return "–"
    return f"`{setting.default if len(setting.default) <= 40 else setting.default[:12] + '…'}`"


def test_architecture_diagram_is_the_lifecycle_table() -> None:
    assert between(read("ARCHITECTURE.md"), "lifecycle") == f"```mermaid\n{mermaid()}```\n"


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md"])
def test_documents_name_every_state(document: str) -> None:
    assert [state for state in State if f"| `{state}` |" not in read(document)] == []


def test_readme_shows_the_lines_that_the_first_start_prints() -> None:
    lines = lines_to_try("http://127.0.0.1:8080", "zpk_test_…", has_sandbox=True).splitlines()
    assert [line for line in lines if not line.startswith("#") and line not in read("README.md").splitlines()] == []


def test_readme_lists_every_setting() -> None:
    rows = [f"| `{s.name}` | {shown_default(s)} | {s.meaning} |" for s in SETTINGS]
    assert between(read("README.md"), "settings").splitlines() == [
        "| variable | default | meaning |",
        "|---|---|---|",
        *rows,
    ]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_env_example_shows_the_default_of(setting: Setting) -> None:
    lines = read("deploy/env.example").splitlines()
    expected = f"{setting.name}={setting.default or ''}"
    assert f"#{expected}" in lines or expected in lines


def test_env_example_names_no_unknown_setting() -> None:
    named = set(re.findall(r"^#?([A-Z][A-Z_]+)=", read("deploy/env.example"), re.MULTILINE))
    assert named == {setting.name for setting in SETTINGS}


def constraints() -> dict[str, str]:
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    return {str(canonicalize_name(name)): version for name, version in (line.split("==") for line in lines)}


def test_constraints_hold_names_and_versions_only() -> None:
    lines = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    assert "whatisup" not in constraints()


def requirements() -> Iterator[Requirement]:
    project = tomllib.loads(read("pyproject.toml"))
    for text in [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]:
        yield Requirement(text)


@pytest.mark.parametrize("requirement", list(requirements()), ids=lambda requirement: requirement.name)
def test_constraints_satisfy_the_range_of(requirement: Requirement) -> None:
    assert requirement.specifier.contains(constraints()[canonicalize_name(requirement.name)])


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Instruction and argument of each logical line."""
    logical = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE))
    return [(line.split()[0], line.split(None, 1)[1]) for line in logical.splitlines() if line.strip()]


class TestDockerfile:
    """The image cannot be built where the tests run; these are the properties it must not lose."""

    @pytest.fixture
    def final(self) -> list[tuple[str, str]]:
        steps = instructions(read("deploy/Dockerfile"))
        last = max(index for index, (word, _) in enumerate(steps) if word == "FROM")
        return steps[last:]

    def test_base_is_slim_python(self, final: list[tuple[str, str]]) -> None:
        assert final[0][1] == "python:3.13-slim"

    def test_user_is_numeric_and_not_root(self, final: list[tuple[str, str]]) -> None:
        words = [word for word, _ in final]
        user = next(argument for word, argument in final if word == "USER")
        assert user.isdecimal()
        assert int(user) > 0
        assert words.index("USER") < words.index("CMD")

    def test_health_check_asks_for_liveness(self, final: list[tuple[str, str]]) -> None:
        command = next(argument for word, argument in final if word == "HEALTHCHECK")
        assert "/healthz" in command
        assert "--timeout=" in command

    def test_every_environment_variable_of_ours_is_a_setting(self, final: list[tuple[str, str]]) -> None:
        named = {name for word, argument in final if word == "ENV" for name in re.findall(r"(\w+)=", argument)}
        ours = {name for name in named if name.startswith("WHATISUP_")}
        assert ours <= {setting.name for setting in SETTINGS}

    def test_stops_by_sigterm_and_runs_in_exec_form(self, final: list[tuple[str, str]]) -> None:
        steps = dict(final)
        assert steps["STOPSIGNAL"] == "SIGTERM"
        assert steps["CMD"].startswith("[")
        assert steps["ENTRYPOINT"].startswith("[")

    def test_copies_only_what_exists_and_is_not_ignored(self) -> None:
        allowed = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
        for word, argument in instructions(read("deploy/Dockerfile")):
            if word == "COPY" and not argument.startswith("--from"):
                for source in argument.split()[:-1]:
                    assert (ROOT / source).exists()
                    assert source in allowed


def test_unit_gives_the_gateway_time_to_drain() -> None:
    unit = read("deploy/whatisup.service")
    stop_s = int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0])
    default_s = next(float(s.default or 0) for s in SETTINGS if s.name == "WHATISUP_SHUTDOWN_S")
    assert stop_s > default_s


@pytest.mark.parametrize(
    "line",
    ["NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "CapabilityBoundingSet=", "UMask=0077"],
)
def test_unit_is_hardened_by(line: str) -> None:
    assert line in read("deploy/whatisup.service").splitlines()


@pytest.mark.parametrize("target", TARGETS)
def test_makefile_documents_target(target: str) -> None:
    assert re.search(rf"^{target}:[^#]*## \w", read("Makefile"), re.MULTILINE)
    assert re.search(rf"^\.PHONY:.*\b{target}\b", read("Makefile"), re.MULTILINE)


def test_continuous_integration_runs_make_check() -> None:
    assert "make check" in read(".ci/run")


@pytest.mark.parametrize("script", ["bootstrap", "test", "freeze"])
def test_ci_script_is_plain_shell(script: str) -> None:
    subprocess.run(["/bin/sh", "-n", str(ROOT / ".ci" / script)], check=True, timeout=10)


def test_bootstrap_refuses_an_old_python_with_a_clear_word(tmp_path: Path) -> None:
    checkout = tmp_path / "a checkout"
    (checkout / ".ci").mkdir(parents=True)
    for name in (".ci/bootstrap", "pyproject.toml", "constraints.txt"):
        (checkout / name).write_text(read(name), encoding="utf-8")
    old = tmp_path / "old python"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    ran = subprocess.run(
        ["/bin/sh", str(checkout / ".ci" / "bootstrap")],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(old)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ran.returncode == 1
    assert "3.11" in ran.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_document_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_document_names_only_make_targets_that_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
    assert {target for target in named if not re.search(rf"^{target}:", read("Makefile"), re.MULTILINE)} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_document_names_only_paths_that_exist(document: Path) -> None:
    named = re.findall(
        r"`((?:whatisup|actors|api|tests|benchmarks|deploy|\.ci)/[\w./-]+)`", document.read_text(encoding="utf-8")
    )
    generated = {"benchmarks/results/"}
    assert [path for path in named if path not in generated and not (ROOT / path).exists()] == []


def test_every_folder_of_code_is_a_package() -> None:
    folders = {path.parent for top in ("whatisup", "actors", "api") for path in (ROOT / top).rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_packages_import_on_this_python() -> None:
    assert sys.version_info >= (3, 11)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import whatisup, actors, api"], cwd=ROOT, timeout=30, check=False
    )
    assert ran.returncode == 0
