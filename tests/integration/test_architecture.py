"""The plan of the packages: which may import which, how many files they have, and what their faces give away.

Each rule is a function from the folder of a package to sentences about what breaks it. None may break in
``featcache/``, and each is seen to find what it is for in a small package that keeps all rules but one.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from import_graph import FLOORS, circles, imports, modules, package_of

ROOT = Path(__file__).resolve().parents[2]
PLAN = "docs/architecture.md"
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}
FILES = {"__init__", "__main__", "errors"}
PACKAGES = LEVEL.keys() - FILES

# What sees arrays only, whatever its floor would allow.
APART = {
    "heads": {"images", "datasets", "cache", "backbones", "extraction"},
    "solvers": {"images", "datasets", "cache", "backbones", "extraction"},
    "splits": {"images"},
    "metrics": {"images"},
}
# A face that gives away nothing: `featcache.extraction.extract` must stay a module when everything is imported.
EMPTY_FACES = ("extraction", "sweeps", "finetuning", "classifier")
# One file for each architecture, as many as there are.
ANY_SIZE = {"featcache/backbones/families"}


# Rules ------------------------------------------------------------------------------------------------------


def order(folder: Path) -> list[str]:
    """A package imports only from floors before its own, for annotations too."""
    crossing = []
    for found in imports(folder):
        source, target = package_of(found.source), package_of(found.target)
        upward = LEVEL.get(target, 0) >= LEVEL.get(source, len(FLOORS))
        if source != target and (upward or target in APART.get(source, ())):
            crossing.append(f"{found.source} imports {found.target} in line {found.line}")
    return crossing


def no_circles(folder: Path) -> list[str]:
    """Neither modules nor packages import each other in circles; what only annotations need does not count."""
    graphs: dict[str, dict[str, set[str]]] = {"modules": defaultdict(set), "packages": defaultdict(set)}
    for found in imports(folder):
        if not found.typing_only:
            graphs["modules"][found.source].add(found.target)
        source, target = package_of(found.source), package_of(found.target)
        if source != target:
            graphs["packages"][source].add(target)
    return [
        f"circle of {kind}: {', '.join(group)}" for kind, graph in graphs.items() for group in circles(graph)
    ]


def planned(folder: Path) -> list[str]:
    """What lies in the package's own folder is in the plan."""
    there = {package_of(name) for name in modules(folder)}
    new = [
        f"{name} has no floor in tools/import_graph.py and {PLAN}" for name in sorted(there - LEVEL.keys())
    ]
    return new + [f"{name} has a floor and is not there" for name in sorted(LEVEL.keys() - there)]


def sizes(folder: Path) -> list[str]:
    """At most five files beside the packages, 3 to 20 files in each package, and 400 lines in a file."""
    counts: dict[str, int] = defaultdict(int)
    lines = []
    for file in modules(folder).values():
        name = file.relative_to(folder.parent).as_posix()
        counts[str(Path(name).parent)] += 1
        if (length := len(file.read_text("utf-8").splitlines())) > 400:
            lines.append(f"{name} has {length} lines")
    top = counts.pop(folder.name)
    beside = [f"{folder.name} has {top} files beside its packages"] if top > 5 else []
    wrong = [
        f"{name} has {count} files"
        for name, count in sorted(counts.items())
        if not 3 <= count <= (count if name in ANY_SIZE else 20)
    ]
    return [*beside, *wrong, *lines]


def empty_faces(folder: Path) -> list[str]:
    """Some packages have an ``__init__`` with a docstring alone."""
    faces = [folder / name / "__init__.py" for name in EMPTY_FACES]
    return [
        f"{face.relative_to(folder.parent).as_posix()} has more than a docstring"
        for face in faces
        if [type(node) for node in ast.parse(face.read_text("utf-8")).body] != [ast.Expr]
    ]


def no_shadows(folder: Path) -> list[str]:
    """No package or module of the package's own folder takes the place of a public name."""
    tree = ast.parse((folder / "__init__.py").read_text("utf-8"))
    lists = [node.value for node in tree.body if isinstance(node, ast.Assign) and _names(node) == ["__all__"]]
    public = {name for value in lists for name in ast.literal_eval(value)}
    there = {package_of(name) for name in modules(folder)}
    return [f"{folder.name}.{name} is a module and a public name" for name in sorted(public & there)]


def _names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


RULES: list[Callable[[Path], list[str]]] = [order, no_circles, planned, sizes, empty_faces, no_shadows]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_featcache_keeps_the_rule(rule):
    assert rule(ROOT / "featcache") == [], f"{rule.__doc__} See {PLAN}."


# The rules find what they are for ---------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path) -> Path:
    """A small package that keeps every rule."""
    folder = tmp_path / "featcache"
    for name in PACKAGES:
        (folder / name).mkdir(parents=True)
        for module in ("__init__", "first", "second"):
            (folder / name / f"{module}.py").write_text('"""A module."""\n')
    for name in FILES:
        (folder / f"{name}.py").write_text('"""A module."""\n')
    (folder / "__init__.py").write_text('__all__ = ["extract", "__version__"]\n')
    (folder / "cli" / "first.py").write_text("from featcache.core import first\nimport featcache.errors\n")
    return folder


def test_the_small_package_keeps_every_rule(package):
    assert [rule(package) for rule in RULES] == [[] for _ in RULES]
    assert [found.target for found in imports(package)] == ["featcache.core.first", "featcache.errors"]


GUARDED = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


@pytest.mark.parametrize(
    ("rule", "files", "sentence"),
    [
        (
            order,
            {"cache/first.py": "from featcache.extraction import first"},
            "featcache.cache.first imports featcache.extraction.first in line 1",
        ),
        (
            order,
            {"core/first.py": "def lazily():\n    import featcache.images.second"},
            "featcache.core.first imports featcache.images.second in line 2",
        ),
        (
            order,
            {"errors.py": f"{GUARDED}from featcache.core.first import Name"},
            "featcache.errors imports featcache.core.first in line 3",
        ),
        (
            order,
            {"sweeps/first.py": "from featcache.finetuning.first import name"},
            "featcache.sweeps.first imports featcache.finetuning.first in line 1",
        ),
        (
            order,
            {"solvers/first.py": "from featcache.cache import FeatureCache"},
            "featcache.solvers.first imports featcache.cache in line 1",
        ),
        (
            order,
            {"core/first.py": "from featcache import __version__"},
            "featcache.core.first imports featcache in line 1",
        ),
        (
            no_circles,
            {
                "core/first.py": "from featcache.core import second",
                "core/second.py": "def lazily():\n    from featcache.core.first import name",
            },
            "circle of modules: featcache.core.first, featcache.core.second",
        ),
        (
            no_circles,
            {
                "core/first.py": "from featcache.images.first import name",
                "images/second.py": f"{GUARDED}from featcache.core.second import Name",
            },
            "circle of packages: core, images",
        ),
        (planned, {"report.py": ""}, f"report has no floor in tools/import_graph.py and {PLAN}"),
        (sizes, {f"a{i}.py": "" for i in range(3)}, "featcache has 6 files beside its packages"),
        (sizes, {"heads/linear/mlp.py": ""}, "featcache/heads/linear has 1 files"),
        (sizes, {f"heads/a{i}.py": "" for i in range(18)}, "featcache/heads has 21 files"),
        (sizes, {"heads/first.py": "\n" * 401}, "featcache/heads/first.py has 401 lines"),
        (
            empty_faces,
            {"extraction/__init__.py": '"""Text."""\n\nfrom featcache.extraction.first import name\n'},
            "featcache/extraction/__init__.py has more than a docstring",
        ),
        (no_shadows, {"extract/__init__.py": ""}, "featcache.extract is a module and a public name"),
    ],
)
def test_a_rule_finds_what_breaks_it(package, rule, files, sentence):
    for name, text in files.items():
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text(text)
    assert rule(package) == [sentence]


def test_a_circle_that_only_annotations_close_is_none(package):
    (package / "core" / "first.py").write_text("from featcache.core import second")
    (package / "core" / "second.py").write_text(f"{GUARDED}from featcache.core.first import Name")
    assert no_circles(package) == []


def test_a_relative_import_is_refused(package):
    (package / "core" / "first.py").write_text("from . import second")
    with pytest.raises(
        ValueError, match=r"first\.py, line 1: a relative import; write the module's whole name"
    ):
        imports(package)


# The page ---------------------------------------------------------------------------------------------------


def test_the_page_lists_the_packages_in_their_order():
    listed = re.findall(r"^\| `([\w/]+)/` \|", (ROOT / PLAN).read_text("utf-8"), re.MULTILINE)
    level = [LEVEL[name] for name in listed if "/" not in name]
    assert set(listed) == {
        path.parent.relative_to(ROOT / "featcache").as_posix()
        for path in (ROOT / "featcache").rglob("*/__init__.py")
    }
    assert level == sorted(level)
