"""`explain`: heat over photos for the classes that they were taken for, and the training photos that they look like."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.backbones.layer import Layer
from featcache.backbones.loaded import LoadedBackbone
from featcache.classifier.classifier import Classifier
from featcache.classifier.photos import photos_of
from featcache.classifier.prediction import backbone_predictor
from featcache.core.argument_types import checked_types
from featcache.core.progress import OnProgress, Progress
from featcache.core.tasks import REGRESSION
from featcache.errors import ImageError, UnknownNameError, UsageError, did_you_mean
from featcache.explain.batches import filled, in_batches
from featcache.explain.class_activation import class_activation, features_of_maps, identity_gap
from featcache.explain.explanation import ExplainedPhoto, Explanation, Heat
from featcache.explain.gradients import gradient_heat
from featcache.explain.method import AUTO, CAM, GRAD_CAM, OCCLUSION, ROLLOUT, Method, choose
from featcache.explain.occlusion import mean_colour, occlusion_heat
from featcache.explain.places import as_grid
from featcache.explain.remarks import remark_on
from featcache.explain.rollout import rollout_heat
from featcache.explain.subject import Subject, of_backbone, of_classifier
from featcache.explain.training_photos import TrainingPhotos, content_hash, training_photos
from featcache.images.views import Views

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
        ``"auto"`` takes the exact class-activation map where a linear head reads the average of a map, else Grad-CAM, in
        transformers the gradient times the value, and occlusion for heads without a gradient. Or one of these by name:
        ``"cam"``, ``"grad-cam"``, ``"gradient"``, ``"occlusion"``, ``"rollout"`` (attention, of transformers).
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
    work = _Work(subject, plan, store, top, asked, neighbours, on_progress)
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
    return f"a {head} head of {len(subject.classes)} classes on {subject.layer_name} of {subject.network.name}"


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
        "This classifier averages over several views of a photo; shown are the heat and the scores of the plain view."
    )


@dataclass
class _Work:
    """One explanation in the making; lists run along the photos that could be read, in their order."""

    subject: Subject
    plan: Method
    store: TrainingPhotos | None
    top: int
    asked: np.ndarray | None
    most: int
    on_progress: OnProgress | None
    all: list[ExplainedPhoto] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    pictures: list[np.ndarray] = field(default_factory=list)
    hashes: list[bytes | None] = field(default_factory=list)
    cached: dict[int, np.ndarray] = field(default_factory=dict)
    features: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    maps: dict[int, np.ndarray] = field(default_factory=dict)
    targets: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), int))
    gap: float = 0.0
    notes: list[str] = field(default_factory=list)

    def read(self, given: Sequence[Any]) -> None:
        """Read the photos as the network sees them; one that cannot be read is kept with its reason."""
        for number, photo in enumerate(given):
            try:
                picture = photo.prepare(self.subject.transforms, Views())
            except ImageError as error:
                self.all.append(ExplainedPhoto(photo.id, error=str(error)))
                continue
            self.all.append(ExplainedPhoto(photo.id, picture))
            self.kept.append(number)
            self.pictures.append(picture)
            self.hashes.append(None if self.store is None else content_hash(photo.id))

    def score(self) -> None:
        """Compute features, from cached maps where there are some, and the classes to show."""
        if not self.kept:
            return
        self._read_maps()
        self._run_network()
        rows = [self._features_of(place) for place in range(len(self.kept))]
        self.features = np.stack(rows)
        self._leave_out(np.isfinite(self.features).reshape(len(rows), -1).all(axis=1))
        if not self.kept:
            return
        values = self.subject.values(self.features)
        self.targets = self._chosen(values)
        raw = self.subject.raw(self.features)
        for place, number in enumerate(self.kept):
            empty = np.zeros((0, 0), np.float32)
            heats = tuple(
                Heat(self.subject.classes[c], float(values[place, c]), float(raw[place, c]), empty)
                for c in self.targets[place]
            )
            known = self.store is not None and self.store.knows(self.hashes[place])
            self.all[number] = replace(self.all[number], heats=heats, trained_on=known)
        self._find_neighbours()

    def draw(self) -> None:
        """Compute the maps."""
        if not self.kept:
            return
        heats = _DRAWING.get(self.plan.name, _Work._of_gradients)(self)
        for place, number in enumerate(self.kept):
            photo = self.all[number]
            assert photo.picture is not None
            maps = heats[place]
            of = photo.heats if self.plan.name != ROLLOUT else (replace(photo.heats[0], name=""),)
            drawn = tuple(
                replace(heat, map=each, remark=remark_on(each, photo.picture))
                for heat, each in zip(of, maps, strict=True)
            )
            if self.plan.name == ROLLOUT:
                drawn += tuple(
                    replace(heat, map=drawn[0].map, remark="Attention rollout knows of no class.")
                    for heat in photo.heats
                )
            self.all[number] = replace(photo, heats=drawn)

    def photos(self) -> list[ExplainedPhoto]:
        """Return all photos, also those that cannot be read."""
        return self.all

    # Features -----------------------------------------------------------------------------------------------

    def _read_maps(self) -> None:
        if not self.plan.exact or self.store is None:
            return
        for place, sha256 in enumerate(self.hashes):
            if (found := self.store.cached_map(self.plan.stage, sha256)) is not None:
                self.cached[place] = found

    def _run_network(self) -> None:
        """Run the network over the photos whose map no cache has."""
        places = [place for place in range(len(self.kept)) if place not in self.cached]
        also = [Layer(self.plan.stage, "map")] if self.plan.exact else []
        wanted = [*map(str, also)] or [self.subject.layer_name]

        def run(batch: np.ndarray, held: slice) -> list[np.ndarray]:
            del held
            found = self.subject.features(batch, *also)
            return [found[name] for name in wanted]

        for held, (values,) in in_batches([self.pictures[place] for place in places], run):
            self.maps |= dict(zip(places[held], values, strict=True))
            self._tell("compute", held.stop)

    def _features_of(self, place: int) -> np.ndarray:
        value = self.cached[place] if place in self.cached else self.maps[place]
        if not self.plan.exact:
            return value
        grid = self._grid(place)
        return features_of_maps(grid[None], averaged=self.plan.averaged)[0]

    def _grid(self, place: int) -> np.ndarray:
        """Return a photo's map ``[h, w, C]``."""
        value = self.cached[place] if place in self.cached else self.maps[place]
        return value if value.ndim == 3 else as_grid(value, self.subject.network, self.subject.transforms)

    def _leave_out(self, finite: np.ndarray) -> None:
        """Say of photos whose features are not finite that nothing can be said of them."""
        if finite.all():
            return
        for place in np.flatnonzero(~finite):
            number = self.kept[place]
            said = "the network's features of it are NaN or infinite, so that no class and no heat can be told"
            self.all[number] = replace(self.all[number], error=said)
        left = np.flatnonzero(finite).tolist()
        self.maps = {new: self.maps[old] for new, old in enumerate(left) if old in self.maps}
        self.cached = {new: self.cached[old] for new, old in enumerate(left) if old in self.cached}
        self.kept, self.pictures, self.hashes = (
            [values[place] for place in left] for values in (self.kept, self.pictures, self.hashes)
        )
        self.features = self.features[finite]

    def _chosen(self, values: np.ndarray) -> np.ndarray:
        """Return the classes to show for each photo, int ``[n, k]``."""
        if self.asked is not None:
            return np.tile(self.asked, (len(values), 1))
        most = min(self.top, values.shape[1])
        if self.subject.task == REGRESSION:
            return np.tile(np.arange(most), (len(values), 1))
        return np.argsort(-values, axis=1, kind="stable")[:, :most]

    def _find_neighbours(self) -> None:
        if self.store is None or not self.most:
            return
        found = self.store.nearest(self.features, self.most, self.hashes)
        for number, near in zip(self.kept, found, strict=True):
            self.all[number] = replace(self.all[number], neighbours=near)

    # Maps, [n, k, h, w] -------------------------------------------------------------------------------------

    def _of_cam(self) -> np.ndarray:
        head = self.subject.head
        assert head is not None
        maps = np.stack([self._grid(place) for place in range(len(self.kept))])
        heat = class_activation(maps, head, self.targets, averaged=self.plan.averaged)
        self.gap = identity_gap(heat, head, self.targets, self.subject.raw(self.features))
        return heat

    def _of_gradients(self) -> np.ndarray:
        def run(batch: np.ndarray, held: slice) -> list[np.ndarray]:
            targets = filled(self.targets[held], len(batch))
            by_channel = self.plan.name == GRAD_CAM
            return [gradient_heat(self.subject, self.plan.stage, batch, targets, by_channel=by_channel)]

        return self._collected(run)

    def _of_rollout(self) -> np.ndarray:
        return self._collected(lambda batch, held: [rollout_heat(self.subject, batch)])

    def _of_occlusion(self) -> np.ndarray:
        def outputs(batch: np.ndarray) -> np.ndarray:
            return self.subject.raw(self.subject.features(batch)[self.subject.layer_name])

        fill, found = mean_colour(self.subject.transforms), []
        for place, picture in enumerate(self.pictures):
            found.append(occlusion_heat(outputs, picture, self.targets[place], fill=fill))
            self._tell("explain", place + 1)
        return np.stack(found)

    def _collected(self, run: Any) -> np.ndarray:
        parts = []
        for held, (values,) in in_batches(self.pictures, run):
            parts.append(values)
            self._tell("explain", held.stop)
        return np.concatenate(parts)

    def _tell(self, stage: str, done: int) -> None:
        if self.on_progress is not None:
            self.on_progress(Progress(stage, done=min(done, len(self.kept)), total=len(self.kept)))


_DRAWING = {CAM: _Work._of_cam, OCCLUSION: _Work._of_occlusion, ROLLOUT: _Work._of_rollout}
