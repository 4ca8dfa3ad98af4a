"""`explain`: heat over photos for the classes that they were taken for, and the training photos that they look like."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.backbones.loaded import LoadedBackbone
from featcache.classifier.classifier import Classifier
from featcache.classifier.photos import photos_of
from featcache.classifier.prediction import backbone_predictor
from featcache.core.argument_types import checked_types
from featcache.core.progress import OnProgress
from featcache.errors import UnknownNameError, UsageError, did_you_mean
from featcache.explanations.explanation import Explanation
from featcache.explanations.method import AUTO, choose
from featcache.explanations.subject import Subject, of_backbone, of_classifier
from featcache.explanations.training_photos import training_photos
from featcache.explanations.work import Work

if TYPE_CHECKING:
    from featcache.datasets import Dataset

Explained = str | os.PathLike[str] | Classifier | LoadedBackbone
"""What can be explained: a classifier, its folder, or a backbone with classes of its own."""


@checked_types()
def explain(
    model: Explained,
    photos: Any,
    *,
    method: str = AUTO,
    stage: str | None = None,
    top: int = 3,
    classes: Sequence[str] | None = None,
    neighbours: int = 3,
    training: "str | os.PathLike[str] | Dataset | None" = None,
    on_progress: OnProgress | None = None,
) -> Explanation:
    """Show where in photos a network sees what it takes them for, and which training photos they look like to it.

    Parameters
    ----------
    model
        A classifier, its folder, or a backbone of `featcache.load_backbone` with classes of its own.
    photos
        As for `featcache.Classifier.predict`: paths, folders, bytes, arrays, or a list of them.
    method
        ``"auto"`` takes the exact class-activation map where a linear head reads the average of a map, else Grad-CAM,
        in transformers the gradient times the value, and occlusion for heads without a gradient. Or one of these by
        name: ``"cam"``, ``"grad-cam"``, ``"gradient"``, ``"occlusion"``, ``"rollout"`` (attention, of transformers).
    stage
        Stage of the map for the gradient methods; ``None`` for the last.
    top
        For how many of the most probable classes heat is shown.
    classes
        The classes to show heat for, in the place of the most probable.
    neighbours
        How many of the nearest training photos are shown beside; 0 for none.
    training
        Where the training photos are, if they have moved.
    on_progress
        Called with a `featcache.core.progress.Progress` after every photo.

    Returns
    -------
    Explanation
        A photo that cannot be read has its `error` set.

    Raises
    ------
    UsageError
        If the method does not suit the network, the stage is no map, or a number is out of its range.
    UnknownNameError
        If there is no such method, stage or class.

    Examples
    --------
    >>> shown = featcache.explain("flowers", "photos/")  # doctest: +SKIP
    >>> shown.to_html("why.html")  # doctest: +SKIP
    """
    for name, number, least in (("top", top, 1), ("neighbours", neighbours, 0)):
        if number < least:
            raise UsageError(f"{name} {number}: expected at least {least}")
    given = photos_of(photos)
    subject = subject_of(model)
    plan = choose(subject, method, stage)
    asked = None if classes is None else _numbers(subject, classes)
    store, why = (None, "")
    if subject.classifier is not None and (neighbours or plan.exact):
        store, why = training_photos(subject.classifier, training)
    work = Work(subject, plan, store, top, asked, neighbours, on_progress)
    work.read(given)
    work.score()
    work.draw()
    notes = [*work.notes, why if neighbours else "", _averaging(subject)]
    if neighbours and store is not None:
        notes.append(store.photos.moved)
    return Explanation(
        tuple(work.photos()),
        plan.name,
        plan.stage,
        plan.words,
        described(subject),
        subject.task,
        exact=plan.exact,
        gap=work.gap if plan.exact and work.kept else None,
        from_cache=len(work.cached),
        notes=tuple(note for note in notes if note),
    )


def subject_of(model: Explained) -> Subject:
    """Return what is to be explained; see `explain`."""
    if isinstance(model, LoadedBackbone):
        return of_backbone(backbone_predictor(model))
    return of_classifier(model if isinstance(model, Classifier) else Classifier.load(model))


def described(subject: Subject) -> str:
    """Return a subject in words."""
    if subject.classifier is None:
        return f"{subject.network.name}, its own {len(subject.classes)} classes"
    head = subject.classifier.head
    return (
        f"a {head} head of {len(subject.classes)} classes on {subject.layer_name} of {subject.network.name}"
    )


def _numbers(subject: Subject, names: Sequence[str]) -> np.ndarray:
    known = subject.classes
    for name in names:
        if name not in known:
            raise UnknownNameError(f"no class {name!r}; {did_you_mean(name, known)}")
    if not names:
        raise UsageError("no class was asked for; name at least one, or leave classes out")
    return np.array([known.index(name) for name in names])


def _averaging(subject: Subject) -> str:
    if subject.classifier is None or not subject.classifier.tta:
        return ""
    return (
        "This classifier averages over several views of a photo; heat and scores are those of the plain view."
    )
