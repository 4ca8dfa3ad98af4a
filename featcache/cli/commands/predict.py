"""``featcache predict``: classify photos."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli.arguments.given_paths import refuse_no_photo, refuse_without_classifier
from featcache.cli.arguments.output_files import require_distinct, require_output
from featcache.cli.commands.predict_files import (
    PredictionFiles,
    prediction_json,
    require_apart,
    require_classes,
)
from featcache.cli.console import Console, Json, Quiet, Verbose, draws, escaped
from featcache.core.display import percent
from featcache.core.progress import Progress
from featcache.core.tasks import MULTICLASS
from featcache.errors import DataError, UsageError

if TYPE_CHECKING:
    from featcache.classifier.photos import Photo
    from featcache.classifier.prediction import Prediction

NAME = "predict"

_MOST_WIDTH = 60
"""Columns that names are padded to, at most."""
_MOST_COUNTED = 12
"""Classes that are counted by name."""


def command(
    paths: Annotated[
        list[str], typer.Argument(help="A classifier folder, then images, folders of images, or a cache.")
    ],
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", "-b", help="Use a backbone's own ImageNet classes, no classifier."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Weights file for --backbone.")] = None,
    image_size: Annotated[
        str | None, typer.Option(help="Pixels for --backbone, as SIZE or HEIGHTxWIDTH.")
    ] = None,
    transforms: Annotated[
        str | None, typer.Option(help="published, center:CROP_PCT or squash:CROP_PCT for --backbone.")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(help="Number of classes for each photo [default: 1; 5 with --json or --jsonl]."),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write a table, a row for each photo.")] = None,
    jsonl: Annotated[
        Path | None, typer.Option(help="Also write JSON, a line for each photo, as in --json.")
    ] = None,
    copy_to: Annotated[
        Path | None,
        typer.Option(
            help="Put each photo into a folder of its class below this one, as a hard link or copy."
        ),
    ] = None,
    tta: Annotated[
        bool | None, typer.Option(help="Average over views of each photo [default: as it was trained].")
    ] = None,
    neighbours: Annotated[
        int, typer.Option(help="Nearest training photos to name for each photo; 0 for none.")
    ] = 0,
    set_level: Annotated[
        float | None,
        typer.Option("--set", help="Also give the smallest set of classes that is right as often, as 0.95."),
    ] = None,
    known_share: Annotated[
        float | None,
        typer.Option(
            help="Share of photos like those seen that are not to be called unlike [default: 0.99]."
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="What runs the network: jax; onnxruntime, faster on CPUs; auto.")
    ] = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Classify photos with a classifier, or with a backbone's original classes; results come as they are computed."""
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    require_distinct({"--csv": csv, "--jsonl": jsonl})
    for option, file, endings in (("--csv", csv, (".csv",)), ("--jsonl", jsonl, (".jsonl", ".ndjson"))):
        if file is not None:
            require_output(option, file, endings, paths)
    if neighbours and backbone is not None:
        raise UsageError(
            "--neighbours names training photos, and a backbone alone has none; leave it out, or search a cache: "
            "featcache similar CACHE PHOTO"
        )
    shares = {"known_share": known_share, "set_level": set_level}
    judged = {name: share for name, share in shares.items() if share is not None}
    source, images = _source(
        paths, backbone, tta, judged, weights=weights, image_size=image_size, transforms=transforms
    )
    if copy_to is not None:
        require_apart(copy_to, images)
        require_classes(source.task)
    photos = source.photos if source.photos is not None else _photos(images)
    if copy_to is not None and source.photos is not None:
        raise UsageError(
            f"--copy-to copies photos, and {images[0]} holds features alone; name the photos instead"
        )
    shown = top or (1 if source.task == MULTICLASS else 5)
    files = PredictionFiles(source.task, source.classes, min(shown, len(source.classes)), csv, jsonl)
    files.neighbours = neighbours
    files.sets = set_level is not None
    if copy_to is not None:
        from featcache.classifier.sorted_photos import SortedPhotos

        files.sorter = SortedPhotos(copy_to, [photo.id for photo in photos], source.classes)
    asked: dict[str, Any] = {"neighbours": neighbours} if neighbours else {}
    asked |= {} if engine == "auto" else {"engine": engine}
    asked |= {} if top is None else {"top": top}  # JSON has as many classes as Classifier.predict gives
    found = _run(console, partial(source.stream, photos, **asked), photos, files, shown)
    counts = count_classes(found)
    value = {"predictions": [prediction_json(each) for each in found], "counts": counts}
    if as_json:
        console.result(value, [])
    _notes(console, found, counts, files)
    if found and all(each.error for each in found):
        raise DataError("none of the images could be read")


@dataclass(frozen=True)
class _Source:
    """What classifies: `stream` gives predictions as they are computed; of a cache, it has the photos' names, too."""

    task: str
    classes: Sequence[str]
    stream: "Callable[..., Iterator[Prediction]]"
    photos: "Sequence[Photo] | None" = None


def _source(
    paths: list[str],
    backbone: str | None,
    tta: bool | None,
    judged: Mapping[str, float],
    **options: str | None,
) -> tuple[_Source, list[str]]:
    """Return the classifier or backbone, and the paths of the photos; `options` are those of `backbone_predictor`."""
    if backbone is not None:
        from featcache.classifier.prediction import backbone_predictor

        if tta:
            raise UsageError(
                "--tta averages over the views that a classifier remembers; give its folder, no --backbone"
            )
        if judged:
            raise UsageError(
                "--set and --known-share are promises about photos like those that a classifier was trained on; give "
                "its folder, no --backbone"
            )
        predictor = backbone_predictor(backbone, **options)
        return _Source(predictor.task, predictor.classes, predictor.stream), paths
    _refuse_for_classifiers(**options)
    folder, *images = paths
    from featcache.core.classifier_folder import is_classifier

    refuse_without_classifier(folder, images)
    if not images and is_classifier(Path(folder)):
        raise UsageError(
            f"no images given: featcache predict {folder} PHOTO… (or --backbone NAME PHOTO… without a classifier)"
        )
    from featcache.classifier.classifier import Classifier
    from featcache.classifier.streaming import cache_among

    classifier = Classifier.load(Path(folder))
    if (cache := cache_among(images)) is not None:
        from featcache.classifier.photos import Photo

        names = [Photo(name, _unread) for name in cache.ids]
        return _Source(
            classifier.task,
            classifier.classes,
            lambda photos, **asked: classifier.stream(cache, tta=tta, **judged, **asked),
            names,
        ), images
    refuse_no_photo(folder, images)
    stream = partial(classifier.stream, tta=tta, **judged)
    return _Source(classifier.task, classifier.classes, stream), images


def _unread(*_: object) -> Any:
    raise UsageError("features of a cache are used, no photo is read")


def _refuse_for_classifiers(**options: str | None) -> None:
    for name, given in options.items():
        if given is not None:
            raise UsageError(f"--{name.replace('_', '-')} goes with --backbone; a classifier knows its own")


def _photos(images: list[str]) -> "list[Photo]":
    from featcache.classifier.photos import photos_of

    return photos_of(images)


def _run(
    console: Console,
    start: "Callable[[], Iterable[Prediction]]",
    photos: "Sequence[Photo]",
    files: PredictionFiles,
    shown: int,
) -> "list[Prediction]":
    """Print and write predictions as they come, and return them all; `start` loads the network and yields them."""
    width = min(max((len(escaped(photo.id)) for photo in photos), default=0), _MOST_WIDTH)
    columns = shutil.get_terminal_size().columns if draws() else 0
    found: list[Prediction] = []
    console.outlives_output = files.wanted
    try:
        with files, console.progress() as on_progress:
            on_progress(Progress("load", total=len(photos)))
            for prediction in start():
                files.add(prediction)
                lines = within(prediction, shown=shown, width=width, columns=columns)
                for text in [*lines, *neighbour_lines(prediction)]:
                    console.line(text)
                found.append(prediction)
                on_progress(Progress("predict", done=len(found), total=len(photos)))
    except BaseException:
        console.kept = files.kept(len(photos))
        raise
    return found


def _notes(
    console: Console, found: "Sequence[Prediction]", counts: dict[str, int], files: PredictionFiles
) -> None:
    """Say how many photos are of which class, what was written, and what unknown means."""
    if len(found) > 1 and counts:
        largest = sorted(counts.items(), key=lambda item: -item[1])
        said = [f"{escaped(name)} {count}" for name, count in largest[:_MOST_COUNTED]]
        more = [f"{len(largest) - _MOST_COUNTED} other classes"] if len(largest) > _MOST_COUNTED else []
        others = {
            "not sure": sum(each.unknown and not each.unlike for each in found),
            "unlike anything seen": sum(each.unlike for each in found),
            "cannot be read": sum(each.error is not None for each in found),
        }
        said += more + [f"{name} {count}" for name, count in others.items() if count]
        console.note(f"{len(found)} photos: {', '.join(said)}")
    for text in files.lines():
        console.note(text)
    if count := sum(each.unlike for each in found):
        console.note(
            f"{count} of {len(found)} unknown: they lie farther from what the classifier was trained on than photos of "
            "that kind do"
        )
    if count := sum(each.unknown and not each.unlike for each in found):
        console.note(
            f"{count} of {len(found)} unknown: their confidence is below the threshold that training chose; train-head "
            "with a lower --reject-accuracy answers more photos, and more of them wrongly"
        )


def count_classes(predictions: "Iterable[Prediction]") -> dict[str, int]:
    """Return the number of photos of each class or label; unknown ones, and numbers, are not counted."""
    counts: Counter[str] = Counter()
    for each in predictions:
        if each.unknown:
            continue
        if each.answers is not None:
            counts.update(each.answers)
        elif each.probabilities:
            counts[each.classes[0]] += 1
    return dict(counts)


def line(prediction: "Prediction", *, shown: int = 1, width: int = 0) -> str:
    """Return a prediction as one line of text: the photo, and its `shown` most probable classes."""
    return f"{escaped(prediction.id).ljust(width)}  {_answer(prediction, shown)}"


def neighbour_lines(prediction: "Prediction") -> list[str]:
    """Return the nearest training photos of a prediction, a line each: similarity, class and name."""
    near = prediction.neighbours or ()
    width = max((len(escaped(each.label)) for each in near), default=0)
    return [
        f"    {each.similarity:.3f}  {escaped(each.label).ljust(width)}  {escaped(each.id)}" for each in near
    ]


def within(prediction: "Prediction", *, shown: int = 1, width: int = 0, columns: int = 0) -> list[str]:
    """Return a prediction as lines of at most `columns` characters, if that is not 0; a class keeps its number.

    Only a name of a file or a class that is longer by itself goes beyond, as it must stay whole to be copied.
    """
    whole = line(prediction, shown=shown, width=width)
    if not columns or len(whole) <= columns:
        return [whole]
    text = [escaped(prediction.id)]
    for number, part in enumerate(_answer(prediction, shown).split(", ")):
        if number and len(text[-1]) + len(part) + 2 <= columns:
            text[-1] += f", {part}"
        else:
            text[-1] += "," if number else ""
            text.append(f"    {part}")
    return text


def _answer(prediction: "Prediction", shown: int) -> str:
    if prediction.error:
        return f"cannot be read ({escaped(prediction.error)})"
    if prediction.set is None or prediction.unlike:  # of a thing of another kind no set holds the right class
        return _best(prediction, shown)
    one_of = ", ".join(map(escaped, prediction.set)) or "no class is likely enough"
    return f"{_best(prediction, shown)}  {{{one_of}}}"


def _best(prediction: "Prediction", shown: int) -> str:
    if prediction.unlike:
        return "unknown (unlike anything seen)"
    if prediction.numbers is not None:
        pairs = zip(prediction.classes, prediction.numbers, strict=True)
        return ", ".join(f"{escaped(name)} {number:.6g}" for name, number in pairs)
    pairs = zip(prediction.classes[:shown], prediction.probabilities, strict=False)
    ranking = ", ".join(f"{escaped(name)} {percent(share)}" for name, share in pairs)
    if prediction.answers is not None:
        return f"{escaped(', '.join(prediction.answers)) or 'none'}  ({ranking})"
    return f"unknown (not sure: {_between(prediction)})" if prediction.unknown else ranking


def _between(prediction: "Prediction") -> str:
    """Return the two classes that a photo may be of, with their probabilities."""
    pairs = zip(prediction.classes[:2], prediction.probabilities, strict=False)
    return " or ".join(f"{escaped(name)} {percent(share)}" for name, share in pairs)


def lines(predictions: "Sequence[Prediction]", *, shown: int = 1) -> list[str]:
    """Return predictions as lines of text."""
    width = min(max((len(escaped(each.id)) for each in predictions), default=0), _MOST_WIDTH)
    return [line(each, shown=shown, width=width) for each in predictions]
