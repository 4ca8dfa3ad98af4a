"""The import graph of a package's source, read without importing it: which module imports which."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FLOORS = (
    ("errors",),
    ("core",),
    ("graphs",),
    ("metrics", "splits", "images"),
    ("pages",),
    ("datasets", "cache", "backbones"),
    ("extraction",),
    ("heads",),
    ("solvers",),
    ("checks",),
    ("classifier",),
    ("estimators", "sweeps", "finetuning"),
    ("auditing", "retrieval", "labelling"),
    ("explanations", "reports", "exporting"),
    ("__init__",),
    ("cli",),
    ("__main__",),
)
"""Packages and single files of ``featcache/`` in their order: each imports only from floors before its own."""


@dataclass(frozen=True, order=True)
class Import:
    """One import statement's name.

    Parameters
    ----------
    source, target
        Dotted names of the modules, such as ``"featcache.cache.reader"``.
    line
        Line of the statement in `source`.
    typing_only
        Whether it stands under ``if TYPE_CHECKING:``, so that it never happens when the program runs.
    """

    source: str
    target: str
    line: int
    typing_only: bool


def modules(folder: Path) -> dict[str, Path]:
    """Return the file of each module of a package.

    Parameters
    ----------
    folder
        The package's folder, such as ``featcache/``; its name is that of the package.

    Returns
    -------
    dict of str to Path
        By dotted name; a package's ``__init__.py`` has the name of the package.
    """
    named = {}
    for file in sorted(folder.rglob("*.py")):
        dotted = ".".join([folder.name, *file.relative_to(folder).with_suffix("").parts])
        named[dotted.removesuffix(".__init__")] = file
    return named


def imports(folder: Path) -> list[Import]:
    """Return all imports between the modules of a package, lazy ones inside functions too, sorted."""
    known = modules(folder)
    return sorted(found for name, file in known.items() for found in _of_module(name, file, known))


def _of_module(name: str, file: Path, known: Mapping[str, Path]) -> Iterator[Import]:
    tree = ast.parse(file.read_text("utf-8"))
    guarded = {id(inner) for node in ast.walk(tree) if _is_guard(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            raise ValueError(f"{file}, line {node.lineno}: a relative import; write the module's whole name")
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # ``from package import module`` imports the module, ``from module import function`` does not.
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names = [*(inner & known.keys()), *([node.module] if inner - known.keys() else [])]
        else:
            continue
        for target in names:
            if target in known:
                yield Import(name, target, node.lineno, id(node) in guarded)


def _is_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def package_of(module: str) -> str:
    """Return which top-level package a module is in: ``"cache"``; a file that is in none has its own name.

    >>> package_of("featcache.cache.reader"), package_of("featcache.errors"), package_of("featcache")
    ('cache', 'errors', '__init__')
    """
    return [*module.split("."), "__init__"][1]


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of names that reach each other (strongly connected components of two and more), sorted."""
    reached = {name: _reached_from(name, edges) for name in edges}
    groups = {
        tuple(sorted(other for other in there if name in reached.get(other, ())))
        for name, there in reached.items()
        if name in there
    }
    return [list(group) for group in sorted(groups)]


def _reached_from(name: str, edges: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(edges[name])
    while waiting:
        if (current := waiting.pop()) not in seen:
            seen.add(current)
            waiting += edges.get(current, ())
    return seen
