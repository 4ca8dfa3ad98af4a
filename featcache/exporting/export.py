"""`export`: a classifier or a backbone as one file that runs without featcache and JAX, and gives the same."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.registry import resolve
from featcache.classifier.classifier import Classifier
from featcache.core.argument_types import checked_types, spelled
from featcache.core.classifier_folder import is_classifier
from featcache.errors import MissingFileError, UnknownNameError, UsageError
from featcache.exporting.check_photos import CheckPhotos, check_photos
from featcache.exporting.description import metadata, preprocessing
from featcache.exporting.fewer_bits import FLOAT16, FLOAT32, in_fewer_bits, precision_of
from featcache.exporting.files import ONNX, STABLEHLO, require_places, write_model
from featcache.exporting.onnx_file import onnx_of, onnx_run
from featcache.exporting.parity import Run, compare, tolerance_of
from featcache.exporting.program import Program, layers_of_classifier, of_backbone, of_classifier
from featcache.exporting.quantisation_cost import QuantisationCost
from featcache.exporting.result import ExportedModel

Exported = str | os.PathLike[str] | Classifier | LoadedBackbone
"""What can be exported: a classifier, its folder, a backbone or its name."""

DEFAULT = "model.onnx"


@checked_types()
def export(
    model: Exported,
    output: str | os.PathLike[str] | None = None,
    *,
    layer: str | Sequence[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    photos: Any = None,
    float16: bool = False,
    int8: bool = False,
    web: str | os.PathLike[str] | None = None,
    runtime: str | os.PathLike[str] | None = None,
) -> ExportedModel:
    """Write a model that runs without featcache and JAX: pictures in, probabilities out.

    Normalisation, network, pooling, head and temperature are inside. The exported model is run on photos first and
    compared with JAX; one that differs by more than rounding is not written.

    Parameters
    ----------
    model
        A classifier, its folder, a backbone of `featcache.load_backbone`, or a backbone's name.
    output
        Ends in ``.onnx`` (for onnxruntime, in a browser or on a phone, too) or ``.stablehlo`` (for JAX and XLA).
        ``preprocessing.json`` and ``labels.txt`` are written beside it. By default ``model.onnx``, or nothing but the
        page where `web` is given.
    layer
        Features of this layer alone, or of several; of a backbone by default ``"pool"``. ``"logits"`` of a backbone
        gives the probabilities of its own classes.
    weights
        Weights file of a backbone that is named.
    photos
        Photos to compare on, as for `featcache.Classifier.predict`; by default those that the classifier was trained
        with, as far as they are still there, else some that come with featcache. With `int8` half of them measure the
        ranges of values, and half judge the result.
    float16
        Half precision: half the size, faster on GPUs, phones and in browsers, not on CPUs; ``.onnx`` only.
    int8
        Eight bits: a quarter of the size, faster on most CPUs, a little less accurate; how much is measured on photos
        that the head has not seen, and told. ``.onnx`` only.
    web
        Also write a folder with a page that classifies photos in a browser, and all that it needs.
    runtime
        Where onnxruntime-web is for that: a folder that ``npm install`` wrote, or its package as a tarball; by default
        what featcache has kept, or npm fetches.

    Returns
    -------
    ExportedModel
        What was written, and the largest differences from JAX.

    Raises
    ------
    ExportError
        If the model has no exact form in that format, or the exported one differs from JAX; or if fewer bits change
        what it says in more than one of ten photos.
    UsageError
        If the name ends otherwise, or what lies beside it is not of this model.
    MissingExtraError
        If onnx or onnxruntime is not installed.
    StorageError
        If it cannot be written.

    Examples
    --------
    >>> featcache.export("flowers", "flowers.onnx")  # doctest: +SKIP
    ExportedModel('flowers.onnx', linear head of 5 classes on pool of efficientnet_lite0.tf_in1k, 13.6 MB)
    """
    if runtime is not None and web is None:
        raise UsageError(
            f"{spelled('runtime')} is for the page that {spelled('web')} writes; name its folder, or leave it out"
        )
    page = None if web is None else Path(web)
    path = None if output is None and page is not None else Path(output or DEFAULT)
    ending = require_places(path, page)
    precision = precision_of(float16=float16, int8=int8)
    if precision != FLOAT32 and ending != ONNX:
        raise UsageError(
            f"a {ending} file computes in float32; name a file that ends in {ONNX}, or leave out --{precision}"
        )
    program, classifier = program_of(model, layer, weights)
    document = preprocessing(program, DEFAULT if path is None else path.name)
    content, run, kind = _FORMATS[ending](program, document)
    compared_on = check_photos(program.transforms, given=photos, classifier=classifier)
    parity = compare(program, run, compared_on, tolerance_of(program), kind=kind.split(",")[0].split(" ")[0])
    cost = None
    if precision != FLOAT32:
        content, cost = _in_fewer_bits(
            content, precision, compared_on, program, given=photos, classifier=classifier
        )
        run, kind = onnx_run(content), f"{kind}, {precision}"
        if precision == FLOAT16:
            parity = compare(program, run, compared_on, tolerance_of(program, FLOAT16), kind="float16 ONNX")
    shapes = {name: value.shape[1:] for name, value in run(compared_on.images[:1]).items()}
    written = () if page is None else tuple(_write_page(page, content, document, runtime))
    written = (() if path is None else write_model(path, content, document)) + written
    return ExportedModel(
        path=path or Path(web or "") / DEFAULT,
        words=program.words,
        kind=kind,
        size=len(content),
        input_size=program.transforms.input_size,
        outputs=shapes,
        written=written,
        parity=parity,
        web=page,
        notes=program.notes,
        cost=cost,
    )


def _in_fewer_bits(
    content: bytes, precision: str, compared_on: CheckPhotos, program: Program, *, given: Any, classifier: Any
) -> tuple[bytes, QuantisationCost | None]:
    import onnx

    found, cost = in_fewer_bits(
        onnx.load_from_string(content),
        precision,
        compared_on,
        program.transforms,
        given=given,
        classifier=classifier,
    )
    return found.SerializeToString(), cost


def _write_page(
    page: Path, content: bytes, document: Mapping[str, Any], runtime: str | os.PathLike[str] | None
) -> list[Path]:
    from featcache.exporting.web import write_web_folder

    return write_web_folder(page, content, document, runtime=None if runtime is None else Path(runtime))


def program_of(
    model: Exported, layer: str | Sequence[str] | None, weights: str | os.PathLike[str] | None
) -> tuple[Program, Classifier | None]:
    """Return what is exported, and the classifier if it is one.

    Raises
    ------
    UsageError
        If weights are given for what has its own.
    MissingFileError
        If there is neither a classifier nor a backbone of that name.
    DataError
        If a path is something else.
    """
    layers = (layer,) if isinstance(layer, str) else tuple(layer or ())
    if isinstance(model, str | os.PathLike):
        model = _loaded(model, weights)
    elif weights is not None:
        raise UsageError("weights go with a backbone's name; what is loaded has its own")
    if isinstance(model, LoadedBackbone):
        return of_backbone(model, layers), None
    return (layers_of_classifier(model, layers) if layers else of_classifier(model)), model


def _loaded(
    name: str | os.PathLike[str], weights: str | os.PathLike[str] | None
) -> Classifier | LoadedBackbone:
    from featcache.backbones import load

    text = os.fspath(name)
    if is_classifier(Path(text)):
        if weights is not None:
            raise UsageError(f"weights go with a backbone's name; the classifier in {text} knows its own")
        return Classifier.load(text)
    unknown = _why_no_backbone(text)
    if not unknown:
        return load(text, weights=None if weights is None else os.fspath(weights))
    try:
        return Classifier.load(text)  # which says what is there instead
    except MissingFileError as error:
        if str(error).endswith("?") and not unknown.startswith("did you mean"):
            raise  # a classifier is near, and no backbone: what backbones there are would hide it
        also = " Nor" if str(error).endswith("?") else "; nor"
        raise MissingFileError(f"{error}{also} is there a backbone of that name; {unknown}") from error


def _why_no_backbone(name: str) -> str:
    """Return the names that may be meant where there is no backbone of a name; an empty text if there is one."""
    try:
        resolve(name)
    except UnknownNameError as error:
        return str(error).partition("; ")[2]
    return ""


def _as_onnx(program: Program, document: Mapping[str, Any]) -> tuple[bytes, Run, str]:
    from featcache.graphs.convert import OPSET

    content = onnx_of(program, metadata(program, dict(document))).SerializeToString()
    return content, onnx_run(content), f"ONNX, opset {OPSET}"


def _as_stablehlo(program: Program, document: Mapping[str, Any]) -> tuple[bytes, Run, str]:
    from featcache.exporting.stablehlo import PLATFORMS, stablehlo_model, stablehlo_run

    del document
    content = stablehlo_model(program)
    return content, stablehlo_run(content, program), f"StableHLO for {', '.join(PLATFORMS)}"


_FORMATS: Mapping[str, Callable[[Program, Mapping[str, Any]], tuple[bytes, Run, str]]] = {
    ONNX: _as_onnx,
    STABLEHLO: _as_stablehlo,
}
"""How a model is written, by the ending of its file: its bytes, a function that runs these, and what they are."""
