"""What commands say of paths that were given in another order, or where a classifier or a photo is expected."""

import os
import re
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from featcache.errors import DataError, UnknownNameError, UsageError

_WITHOUT = ("predict", "explain")
"""Commands that take photos first where a backbone is named."""
_DATASET = re.compile(r"[a-z]{2,8}:(?!//)|.*\.(csv|tsv|jsonl)", re.IGNORECASE)


def refuse_swapped(command: str, first: str | Path, *others: str | Path | None) -> None:
    """Raise `UsageError`, with the command in its right order, where a classifier was given, but not first.

    Parameters
    ----------
    command
        Its name.
    first
        What stands in the classifier's place.
    others
        What was given besides.
    """
    from featcache.core.classifier_folder import is_classifier
    from featcache.images.given_path import CACHE, PHOTO, PHOTOS, what_is

    given = [str(each) for each in others if each is not None]
    found = next((each for each in given if is_classifier(Path(each))), None)
    if found is not None and not is_classifier(Path(first)):
        right = shlex.join([found, str(first), *(each for each in given if each != found)])
        raise UsageError(f"{found} is a classifier, which comes first: featcache {command} {right}")
    if not given and command not in _WITHOUT and (kind := what_is(first)) in (CACHE, PHOTO, PHOTOS):
        raise _classifier_first(command, str(first), kind)


def _classifier_first(command: str, first: str, kind: str) -> UsageError:
    without = " (or without one: --backbone NAME)" if command in _WITHOUT else ""
    return UsageError(
        f"{first} is {kind}, and the classifier comes first: featcache {command} CLASSIFIER {shlex.quote(first)}, "
        f"where CLASSIFIER is the folder that featcache train-head made{without}"
    )


def refuse_without_classifier(first: str, images: Sequence[str], command: str = "predict") -> None:
    """Raise `UsageError` where ``featcache predict`` (or another) got photos or a backbone's name for a classifier."""
    from featcache.core.disk.file_urls import local_path
    from featcache.images.given_path import CLASSIFIER, PHOTO, PHOTOS, what_is
    from featcache.images.names import is_image_name

    refuse_swapped(command, first, *images)
    path = local_path(first)
    kind = what_is(path)
    if kind == CLASSIFIER:
        return
    if not os.path.exists(path):
        kind = PHOTO if is_image_name(path.name) else kind
        _refuse_backbone(first, images, command)
    if kind in (PHOTO, PHOTOS):
        raise _classifier_first(command, first, kind)


def refuse_no_cache(given: Path | None) -> None:
    """Raise `DataError` where ``--cache`` got a classifier, weights or the like; a folder of photos may be scored."""
    from featcache.images.given_path import CACHE, refusal

    if given is not None and (said := refusal(given, CACHE)):
        raise DataError(said)


def refuse_cache_as_photos(classifier: Path, dataset: str | None) -> None:
    """Raise `UsageError` where ``featcache finetune`` got a cache as if it were photos."""
    from featcache.images.given_path import CACHE, what_is

    if dataset is not None and what_is(dataset) == CACHE:
        raise UsageError(
            f"{dataset} is {CACHE}, no photos; to train from it: featcache finetune "
            f"{shlex.quote(str(classifier))} --cache {shlex.quote(dataset)}"
        )


def without_labels(classifier: Path) -> AbstractContextManager[None]:
    """Return a context in which a dataset without labels is told how ``featcache predict`` classifies its photos."""
    from featcache.datasets.dataset import labels_needed

    own = shlex.quote(str(classifier))

    def instead(spec: str) -> str:
        photos = "PHOTOS" if _DATASET.match(spec) else shlex.quote(spec)
        return f"to classify photos without labels: featcache predict {own} {photos}"

    return labels_needed(instead)


def _refuse_backbone(first: str, images: Sequence[str], command: str) -> None:
    from featcache.backbones.registry import resolve

    try:
        resolve(first)
    except UnknownNameError:
        return
    shown = shlex.join(images) or "PHOTO…"
    raise UsageError(
        f"{first} is a backbone, no classifier; for its own classes: featcache {command} --backbone {first} {shown}"
    )


def refuse_no_photo(classifier: str, images: Sequence[str]) -> None:
    """Raise `DataError` where all that is to be classified is plainly no photo; one among others is told as such."""
    from featcache.images.given_path import CACHE, PHOTO, PHOTOS, UNKNOWN, what_is

    if len(images) != 1:
        return
    given, kind = images[0], what_is(images[0])
    if kind == CACHE:
        raise DataError(
            f"{given} is {kind}, no photo; to score it: featcache evaluate {shlex.join([classifier, given])}"
        )
    if kind == UNKNOWN and _DATASET.match(given) and not os.path.isdir(given):
        spec = given if re.match(r"[a-z]{2,8}:", given) else f"csv:{given}"
        raise DataError(
            f"{given} is a table or a dataset, no photo; to score what it lists: featcache evaluate "
            f"{shlex.join([classifier, spec])}"
        )
    if kind not in (PHOTO, PHOTOS, UNKNOWN):
        raise DataError(f"{given} is {kind}, no photo; name photos, or folders of them")
