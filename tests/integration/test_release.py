"""What a release says of itself is said once, or the same everywhere."""

import re
import tomllib
from pathlib import Path

import pytest

import featcache
from featcache.core.version import __version__

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _field(name: str) -> str:
    """Return a top-level field of CITATION.cff, which is YAML as plain as this."""
    found = re.search(rf"^{name}: *(.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert found is not None
    return found[1].strip('"')


def test_the_version_is_written_in_one_module():
    assert featcache.__version__ == __version__
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]


def test_citation_and_changelog_are_of_this_version():
    newest = re.search(r"^## (\S+) \((\S+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest.groups() == (__version__, _field("date-released"))
    assert _field("version") == __version__
    assert _field("license") == PROJECT["license"]


def test_every_python_of_the_classifiers_is_tried_by_the_workflow():
    named = {each.rpartition(" ")[2] for each in PROJECT["classifiers"] if ":: 3." in each}
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    assert named == {"3.11", "3.12", "3.13"}
    assert named == set(re.findall(r'"(3\.\d+)"', workflow))
    assert "- run: .ci/run\n" in workflow


def test_an_issue_brings_what_the_doctor_says():
    assert "featcache doctor --json" in (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text()


def test_the_container_installs_extras_that_there_are():
    text = (ROOT / "Dockerfile").read_text()
    named = {extra for given in re.findall(r"EXTRAS=(\S+)", text) for extra in given.split(",")}
    assert {"cuda12", "weights"} <= named <= set(PROJECT["optional-dependencies"])
    (copied,) = re.findall(r"^COPY (pyproject\.toml .*) \./$", text, re.MULTILINE)
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert [name for name in [*copied.split(), "data", "featcache"] if f"!{name}" not in allowed] == []


@pytest.mark.parametrize("file", ["constraints/oldest.txt"])
def test_constraints_are_the_lower_bounds(file):
    """Where a bound is raised, the constraints that CI installs are made again."""
    pinned = dict(line.split("==") for line in (ROOT / file).read_text().splitlines() if "==" in line)
    bounds = [re.fullmatch(r"([\w.-]+)(?:\[.*\])?>=([\w.]+)", each) for each in PROJECT["dependencies"]]
    assert all(bounds)
    parts = {found[1].lower().replace("_", "-"): found[2] for found in bounds if found}
    older = {
        name: (pinned[name], bound)
        for name, bound in parts.items()
        if tuple(map(int, pinned[name].split("."))) < tuple(map(int, bound.split(".")))
    }
    assert older == {}
