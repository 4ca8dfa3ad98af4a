"""What has no exact form is refused, by its name, before anything is written."""

import builtins
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from featcache.errors import ExportError, FeatcacheError, MissingExtraError
from featcache.graphs import convert
from featcache.graphs.convert import onnx_model
from featcache.graphs.sessions import open_session

MAP = {"x": ((8, 9, 4), np.float32)}
OVER = "computed over the batch, so that an example depends on the others in it"
COUNTS = "computes with the number of examples in a batch"
PLACES = "numbers are gathered from places that are no grid"


def pooled(x: Any, window: tuple[int, ...], **asked: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, window, (1, 1, 1, 1), "VALID", **asked)


UNKNOWN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "sort": (jnp.sort, r"ONNX has no exact form here of JAX's 'sort'.*export features of a layer before it"),
    "fft": (lambda x: jnp.abs(jnp.fft.fft(x)), "no exact form here of JAX's 'fft'"),
    "scan": (lambda x: lax.fori_loop(0, 3, lambda _, carry: carry * 2, x), "JAX's 'scan'"),
    "while": (lambda x: lax.while_loop(lambda c: c.sum() < 3, lambda c: c + 1, x), "JAX's 'while'"),
    "softplus": (jax.nn.softplus, "JAX's 'log1p'"),
    "cond": (lambda x: lax.cond(x[:, 0, 0, 0].astype(bool).argmax() > 0, jnp.abs, jnp.negative, x), OVER),
    "scatter": (lambda x: x.at[:, 0].set(1.0), "JAX's 'scatter'"),
    "bfloat16": (
        lambda x: x.astype(jnp.bfloat16) * 2,
        "computes in bfloat16, which ONNX's operators do not; export it",
    ),
    "bits": (lambda x: x.astype(jnp.int8) & 3, "JAX's 'and' of the bits of int8"),
    "no bits": (lambda x: ~x.astype(jnp.int32), "JAX's 'not' of the bits of int32"),
    "choice of three": (
        lambda x: lax.select_n((x > 0).astype(jnp.int32), x, -x, 2 * x),
        "a choice between 3 values",
    ),
    "choice by numbers": (
        lambda x: lax.select_n((x > 0).astype(jnp.int32), x, -x),
        r"a choice by numbers \(int32\)",
    ),
    "away from zero": (lambda x: lax.round(x), "halves to even numbers"),
    "places that differ": (lambda x: jnp.take_along_axis(x, x.argmax(-1, keepdims=True), -1), PLACES),
    "a place that differs": (lambda x: jax.vmap(lambda one: one[one[:, 0, 0].argmax()])(x), PLACES),
    "beyond": (lambda x: jnp.take(x, jnp.array([1, 20]), axis=1), "from beyond an axis of 8"),
    "windows of channels": (
        lambda x: pooled(x, (1, 2, 2, 2)),
        "over other axes than a map's height and width",
    ),
    "dilated windows": (lambda x: pooled(x, (1, 2, 2, 1), window_dilation=(1, 2, 2, 1)), "over other axes"),
    "transposed convolution": (
        lambda x: lax.conv_transpose(x, np.ones((3, 3, 4, 5), np.float32), (2, 2), "SAME"),
        "a transposed convolution",
    ),
    "cut convolution": (
        lambda x: lax.conv_general_dilated(
            x,
            np.ones((3, 3, 4, 5), np.float32),
            (1, 1),
            ((-1, 0), (0, 0)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ),
        "leaves out a map's margin",
    ),
    "negative pad": (
        lambda x: lax.pad(x, 0.0, ((0, 0, 0), (-1, 0, 0), (0, 0, 0), (0, 0, 0))),
        "takes some away",
    ),
    "pad between": (
        lambda x: lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 0))),
        "a padding between",
    ),
}

OF_THE_BATCH: dict[str, tuple[Callable[[Any], Any], str]] = {
    "sum": (lambda x: x + x.sum(0), OVER),
    "mean": (lambda x: x - x.mean(0), "batch"),
    "place of the largest": (lambda x: x + x.argmax(0), OVER),
    "running sum": (lambda x: jnp.cumsum(x, axis=0), OVER),
    "top": (lambda x: x + lax.top_k(x, 1, axis=0)[0], OVER),
    "product": (lambda x: x + jnp.einsum("nijk,nijl->kl", x[:, :1, :1], x[:, :1, :1])[0], OVER),
    "backwards": (lambda x: lax.rev(x, (0,)), OVER),
    "beside each other": (lambda x: jnp.concatenate([x, x]), r"\(2\*N, 8, 9, 4\), not"),
    "part": (lambda x: x + lax.slice_in_dim(x, 0, 1, axis=0), "a part of the batch is taken"),
    "one more": (
        lambda x: jnp.pad(x, ((0, 1), (0, 0), (0, 0), (0, 0))),
        r"\(N \+ 1, 8, 9, 4\), not \[N, …\]",
    ),
    "tiled": (lambda x: jnp.tile(x, (2, 1, 1, 1)), r"\(2\*N, 8, 9, 4\), not \[N, …\]"),
    "constants beside": (lambda x: jnp.concatenate([jnp.ones(x.shape), x]).reshape(x.shape[0], -1), OVER),
    "first": (lambda x: x + x[0], OVER),
    "number": (
        lambda x: x + jnp.arange(x.shape[0], dtype=jnp.float32)[:, None, None, None],
        "number of an example",
    ),
    "count": (lambda x: x / x.shape[0], COUNTS),
    "count alone": (lambda x: jnp.full((x.shape[0],), x.shape[0]), COUNTS),
    "constants": (lambda x: x + jnp.ones((x.shape[0], 4)).sum(0), OVER),
    "two batches": (lambda x: jnp.einsum("nijk,mijk->nm", x, x), "the batch is not the first axis"),
    "window": (lambda x: pooled(x.transpose(1, 0, 2, 3), (1, 2, 2, 1)).transpose(1, 0, 2, 3), "N - 1"),
    "twice as many": (
        lambda x: x + jnp.ones((2 * x.shape[0], 4)).reshape(x.shape[0], 1, 2, 4)[:, :, :1],
        OVER,
    ),
    "by size": (lambda x: x if x.shape[0] > 4 else 2 * x, "decides by the size of its batch"),
    "by value": (lambda x: x if x.sum() > 4 else 2 * x, "decides by its input.*JAX says"),
}


@pytest.mark.parametrize(("function", "match"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_has_no_exact_form_is_refused_by_its_name(function: Callable[[Any], Any], match: str):
    with pytest.raises(ExportError, match=match):
        onnx_model(lambda x: {"y": function(x)}, MAP)


@pytest.mark.parametrize(("function", "match"), OF_THE_BATCH.values(), ids=OF_THE_BATCH)
def test_an_example_that_depends_on_the_others_is_refused(function: Callable[[Any], Any], match: str):
    with pytest.raises(ExportError, match=match):
        onnx_model(lambda x: {"y": function(x)}, MAP)


def test_outputs_are_rows_under_names_of_their_own():
    with pytest.raises(ExportError, match=r"the output 'y' is the same for every image: \(3\), not \[N, …\]"):
        onnx_model(lambda x: {"y": jnp.ones(3)}, MAP)
    with pytest.raises(ExportError, match="an input and an output are both called 'x'"):
        onnx_model(lambda x: {"x": x * 2}, MAP)
    with pytest.raises(ExportError, match="this function returns nothing"):
        onnx_model(lambda x: {}, MAP)


def test_numbers_that_jax_would_take_as_others_are_refused():
    with pytest.raises(ExportError, match="the input 'x' is float64, which JAX takes as float32; declare"):
        onnx_model(lambda x: {"y": x * 2}, {"x": ((3,), np.float64)})


def test_a_model_larger_than_a_file_may_be_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(convert, "MOST_BYTES", 2000)
    weights = np.ones((4, 128), np.float32)
    with pytest.raises(
        ExportError, match=r"0\.0 GB of numbers, and one ONNX file holds 2 GB; take a smaller backbone"
    ):
        onnx_model(lambda x: {"y": x @ weights}, MAP)
    monkeypatch.setattr(convert, "MOST_BYTES", 4000)
    onnx_model(lambda x: {"y": x @ weights}, MAP)


def without(monkeypatch: pytest.MonkeyPatch, package: str, error: Exception) -> None:
    """Let importing a package raise."""
    real = builtins.__import__

    def imported(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == package:
            raise error
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", imported)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra_its_name_is_given(monkeypatch: pytest.MonkeyPatch, package: str):
    importlib.import_module("onnx")
    model = onnx_model(lambda x: {"y": x * 2}, MAP)
    without(monkeypatch, package, ModuleNotFoundError(f"No module named {package!r}", name=package))
    with pytest.raises(
        MissingExtraError, match=rf"needs the package {package}: pip install 'featcache\[onnx\]'"
    ):
        onnx_model(lambda x: {"y": x * 2}, MAP) if package == "onnx" else open_session(model)


@pytest.mark.parametrize("error", [OSError("lib.so: no such file"), ImportError("DLL load failed")])
@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_damaged_installation_is_told_from_a_missing_one(
    monkeypatch: pytest.MonkeyPatch, package: str, error: Exception
):
    model = onnx_model(lambda x: {"y": x * 2}, MAP)
    without(monkeypatch, package, error)
    with pytest.raises(
        FeatcacheError,
        match=rf"{package} is installed and cannot be imported \({type(error).__name__}: .* again: pip",
    ) as raised:
        onnx_model(lambda x: {"y": x * 2}, MAP) if package == "onnx" else open_session(model)
    assert not isinstance(raised.value, MissingExtraError)
