"""The steps of one explanation: photos read, classes scored, maps computed, of many photos at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from featcache.backbones.layer import Layer
from featcache.classifier.known.judging import judge_of
from featcache.core.progress import OnProgress, Progress
from featcache.core.tasks import REGRESSION
from featcache.errors import ImageError
from featcache.explanations.batches import filled, in_batches
from featcache.explanations.class_activation import class_activation, features_of_maps, identity_gap
from featcache.explanations.gradients import gradient_heat
from featcache.explanations.method import CAM, GRAD_CAM, OCCLUSION, ROLLOUT, Method
from featcache.explanations.occlusion import mean_colour, occlusion_heat
from featcache.explanations.places import as_grid
from featcache.explanations.records import ExplainedPhoto, Heat
from featcache.explanations.remarks import remark_on
from featcache.explanations.rollout import rollout_heat
from featcache.explanations.subject import Subject
from featcache.explanations.training_photos import TrainingPhotos
from featcache.images.transforms import Transforms
from featcache.images.views import Views


@dataclass(frozen=True)
class _Hashing(Views):
    """The plain view, which tells the hash of the bytes that it was made from: a photo is read once."""

    sha256: list[bytes] = field(default_factory=list)

    def prepare(self, data: bytes, transforms: Transforms, image: bytes) -> np.ndarray:
        """Prepare a photo; see `Views.prepare`."""
        self.sha256.append(image)
        return super().prepare(data, transforms, image)


@dataclass
class Work:
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
            views = _Hashing()
            try:
                picture = photo.prepare(self.subject.transforms, views)
            except ImageError as error:
                self.all.append(ExplainedPhoto(photo.id, error=str(error)))
                continue
            self.all.append(ExplainedPhoto(photo.id, picture))
            self.kept.append(number)
            self.pictures.append(picture)
            self.hashes.append(views.sha256[0] if views.sha256 else None)

    def score(self) -> None:
        """Compute features, from cached maps where there are some, and the classes to show."""
        if not self.kept:
            return
        self._read_maps()
        self._run_network()
        rows = [self._features_of(place) for place in range(len(self.kept))]
        self.features = np.stack(rows)
        self._leave_out(np.asarray(np.isfinite(self.features).reshape(len(rows), -1).all(axis=1)))
        if not self.kept:
            return
        values = self.subject.values(self.features)
        self.targets = self._chosen(values)
        raw = self.subject.raw(self.features)
        unlike = self._unlike()
        for place, number in enumerate(self.kept):
            empty = np.zeros((0, 0), np.float32)
            heats = tuple(
                Heat(self.subject.classes[c], float(values[place, c]), float(raw[place, c]), empty)
                for c in self.targets[place]
            )
            known = self.store is not None and self.store.knows(self.hashes[place])
            self.all[number] = replace(
                self.all[number], heats=heats, trained_on=known, unlike=bool(unlike[place])
            )
        self._find_neighbours()

    def draw(self) -> None:
        """Compute the maps."""
        if not self.kept:
            return
        heats = _DRAWING.get(self.plan.name, Work._of_gradients)(self)
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
        layer = self.subject.layer
        if layer is not None and layer.pooling == "map":
            return grid  # as a cache holds it; the head lays it flat
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
            said = (
                "the network's features of it are NaN or infinite, so that no class and no heat can be told"
            )
            self.all[number] = replace(self.all[number], error=said)
        left = np.flatnonzero(finite).tolist()
        self.maps = {new: self.maps[old] for new, old in enumerate(left) if old in self.maps}
        self.cached = {new: self.cached[old] for new, old in enumerate(left) if old in self.cached}
        self.kept = [self.kept[place] for place in left]
        self.pictures = [self.pictures[place] for place in left]
        self.hashes = [self.hashes[place] for place in left]
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

    def _unlike(self) -> np.ndarray:
        """Return which photos are unlike anything that the classifier has seen, bool ``[n]``."""
        if self.subject.classifier is None:
            return np.zeros(len(self.features), bool)
        return judge_of(self.subject.classifier, tta=False).distances(self.features)[1]

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


_DRAWING = {CAM: Work._of_cam, OCCLUSION: Work._of_occlusion, ROLLOUT: Work._of_rollout}
