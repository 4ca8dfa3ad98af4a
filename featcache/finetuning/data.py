"""The training, validation and test rows of a fine-tuning, and its inputs: photos, or a cached cut (a stage's output).

Rows are split as they were for the head: otherwise the head could have seen images that it is tested on.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from featcache.backbones.layer import split_layer
from featcache.cache import FeatureCache
from featcache.cache.layout import RowTable, table_digest
from featcache.classifier.classifier import Classifier
from featcache.core.columns.digest_array import is_known
from featcache.core.identity import LayerIdentity, differences, first_of
from featcache.core.parallel import default_workers
from featcache.core.progress import OnProgress
from featcache.core.tasks import MULTICLASS, require_classes
from featcache.datasets import Dataset
from featcache.datasets.exclude_list import ExcludeGiven, read_exclude
from featcache.datasets.subset import slice_records
from featcache.errors import IdentityError, UnknownNameError, UsageError
from featcache.extraction.planning.content_hashes import hash_records
from featcache.extraction.planning.row_table import SplitRule, build_rows
from featcache.finetuning.inputs import CachedActivations, Inputs, PhotoInputs
from featcache.finetuning.model import Model
from featcache.images.augmentation import Augmentation
from featcache.splits.selection import CachedRows, Selection, SplitSpec, select_rows
from featcache.splits.shuffled import SliceOrder
from featcache.splits.slices import rows_in

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone


@dataclass(frozen=True)
class PhotoRows:
    """The rows of a dataset of photos, in the form that `featcache.splits.selection.select_rows` takes.

    Parameters
    ----------
    path
        The dataset's spec.
    splits, split_of
        Names of the splits, and each row's number among them.
    ids, labels, sha256, groups
        Of every row; see `featcache.cache.FeatureCache`.
    readable
        bool ``[N]``: whether each file could be read.
    classes
        Names of the classes.
    """

    path: str
    splits: tuple[str, ...]
    split_of: np.ndarray
    ids: Sequence[str]
    labels: np.ndarray
    sha256: np.ndarray
    groups: Sequence[str] | None
    readable: np.ndarray
    classes: Sequence[str]
    task: str = MULTICLASS

    def rows_of(self, split: str, *, order: SliceOrder | None = None) -> np.ndarray:
        """Return the numbers of the readable rows of a split or slice."""
        rows = rows_in(split, self.splits, self.split_of, origin=self.path, order=order)
        return rows[self.readable[rows]]


@dataclass(frozen=True)
class FineTuningData:
    """The data of a fine-tuning.

    Parameters
    ----------
    rows
        The training, validation and test rows.
    labels
        int32 ``[N]`` in the order of the classifier's classes.
    ids
        Names of the images.
    rows_sha256
        Digest of the row table.
    spec
        The dataset's spec, or the cache's path.
    data, hashes
        The photos and the sha256 of each, when training from photos.
    cache, layer
        The cached cut, when training from one.
    selection
        The request for the rows.
    """

    rows: Selection
    labels: np.ndarray
    ids: Sequence[str]
    rows_sha256: str
    spec: str
    data: Dataset | None = None
    hashes: np.ndarray | Sequence[bytes] = ()
    cache: FeatureCache | None = None
    layer: str | None = None
    selection: SplitSpec = field(default_factory=SplitSpec)

    @property
    def cut(self) -> str | None:
        """The stage whose output is cached."""
        return None if self.layer is None else split_layer(self.layer)[0]

    def digests(self, *rows: np.ndarray) -> list[bytes]:
        """Return the sha256 of the images of some rows."""
        numbers = np.concatenate(rows)
        if self.cache is not None:
            return [self.cache.sha256[row].tobytes() for row in numbers]
        return [bytes(self.hashes[row]) for row in numbers]

    def inputs(
        self, model: Model, *, after: str | None, augmentation: Augmentation, seed: int, workers: int | None
    ) -> Inputs:
        """Return the inputs of a phase that begins after stage `after`; a cached cut begins after its own stage."""
        if self.cache is not None and self.layer is not None and self.cut is not None:
            return CachedActivations(self.cache, self.layer, self.cut, seed)
        assert self.data is not None
        return PhotoInputs(
            model=model,
            data=self.data,
            hashes=self.hashes,
            after=after,
            augmentation=augmentation,
            seed=seed,
            workers=workers,
        )


def from_photos(
    classifier: Classifier,
    data: Dataset,
    *,
    exclude: ExcludeGiven = None,
    report: OnProgress,
    workers: int | None = None,
) -> FineTuningData:
    """Return photos to fine-tune on, split as extraction and `featcache.train_head` split them.

    Parameters
    ----------
    classifier, data
        The classifier, and the photos.
    exclude
        Photos to leave out, beside those that a list left out of the classifier's training.
    report, workers
        Called with the progress of hashing the files; threads that hash.

    Raises
    ------
    UsageError
        If the classes are not those of the classifier.
    DataError
        If there are no training rows.
    """
    require_classes(data, "fine-tuning")
    data = _as_extracted(classifier, data)
    order = _class_order(classifier, data.classes, data.spec)
    hashes = hash_records(data, workers=workers or default_workers(), report=report)
    table, splits = _divided(classifier, data, hashes)
    rows = PhotoRows(
        path=data.spec,
        splits=splits,
        split_of=np.asarray(table.splits),
        ids=table.ids,
        labels=np.asarray(table.labels),
        sha256=np.asarray(table.sha256),
        groups=table.groups,
        readable=is_known(hashes),
        classes=data.classes,
    )
    selection = _selection(classifier, rows, exclude)
    return FineTuningData(
        rows=select_rows(cast(CachedRows, rows), selection),
        labels=order[table.labels],
        ids=table.ids,
        rows_sha256=table_digest(table.columns()),
        spec=data.spec,
        data=data,
        hashes=hashes,
        selection=selection,
    )


def from_cut(
    classifier: Classifier,
    network: "LoadedBackbone",
    cache: FeatureCache,
    layer: str | None,
    *,
    exclude: ExcludeGiven = None,
) -> FineTuningData:
    """Return a cached cut to fine-tune on.

    Parameters
    ----------
    classifier, network
        The classifier and its backbone.
    cache, layer
        The cache, and its layer that holds a stage's output; by default the only one.
    exclude
        Photos to leave out, beside those that a list left out of the classifier's training.

    Raises
    ------
    UsageError
        If the classes are not those of the classifier, or the cache holds no output of a stage.
    IdentityError
        If its features come from other weights or another preprocessing; the message lists the differences.
    """
    require_classes(cache, "fine-tuning")
    order = _class_order(classifier, cache.classes, str(cache.path))
    _require_same_network(classifier, network, cache, layer)
    name = _map_layer(network, cache, layer)
    selection = _selection(classifier, cache, exclude)
    return FineTuningData(
        rows=select_rows(cache, selection),
        labels=order[cache.labels],
        ids=cache.ids,
        rows_sha256=cache.identity["rows"]["sha256"],
        spec=str(cache.path),
        cache=cache,
        layer=name,
        selection=selection,
    )


def _selection(classifier: Classifier, rows: FeatureCache | PhotoRows, exclude: ExcludeGiven) -> SplitSpec:
    """Return the request for the rows that trained, validated and tested the classifier, without further ones."""
    own = classifier.settings
    asked = SplitSpec.from_training(classifier.training, val_fraction=own.val_fraction, seed=own.seed)
    further = read_exclude(exclude, rows.ids, origin=str(rows.path))
    return replace(asked, exclude=tuple(dict.fromkeys((*asked.exclude, *further))))


def _as_extracted(classifier: Classifier, data: Dataset) -> Dataset:
    """Return the slice of a dataset that the head saw: from all of it, other test rows would be drawn."""
    part = extracted_slice(classifier, data)
    return data if part is None else slice_records(data, part)


def extracted_slice(classifier: Classifier, data: Dataset) -> str | None:
    """Return the slice of this dataset that was extracted for the head; ``None`` for all of it."""
    provenance = classifier.provenance
    return provenance.get("slice") if provenance["dataset"] == data.spec else None


def _divided(classifier: Classifier, data: Dataset, hashes: np.ndarray) -> tuple[RowTable, tuple[str, ...]]:
    """Return the row table and the splits; of the very rows that the head saw, the splits that it saw."""
    rule = classifier.provenance.get("split_rule") or {}
    own = SplitRule(rule.get("test_fraction", 0.2), rule.get("seed", 0), together=False)
    if rule:
        table, splits, _ = build_rows(data, hashes, own)
        if table_digest(table.columns()) == classifier.provenance.get("rows_sha256"):
            return table, splits
    table, splits, _ = build_rows(data, hashes, replace(own, together=True))
    return table, splits


def _class_order(classifier: Classifier, classes: Sequence[str], spec: str) -> np.ndarray:
    """Return the classifier's index of each of a dataset's classes; both must have the same classes."""
    missing = [name for name in classifier.classes if name not in classes]
    unknown = [name for name in classes if name not in classifier.classes]
    if missing or unknown:
        parts = [
            f"{what}: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
            for what, names in (("the classifier lacks", unknown), ("it lacks", missing))
            if names
        ]
        raise UsageError(
            f"{spec} has other classes than the classifier ({'; '.join(parts)}); "
            "train a head on this dataset first: featcache train-head"
        )
    return np.array([classifier.classes.index(name) for name in classes], np.int32)


def _require_same_network(
    classifier: Classifier, network: "LoadedBackbone", cache: FeatureCache, layer: str | None
) -> None:
    """Refuse a cut of other weights or transforms; stored dtype and number of views may differ."""
    free = ("stored_dtype", "views")
    have, want = (
        {key: value for key, value in recipe.items() if key not in free}
        for recipe in (cache.recipe, classifier.recipe)
    )
    lines = differences(have, want)
    if lines and not _same_to_cut(network, cache, layer, have, want):
        told = first_of(lines).replace("asked for", "in the classifier")
        photos = shlex.quote(cache.identity["dataset"]["spec"])
        raise IdentityError(
            f"{cache.path} was made by another network than the classifier's ({told}). Extract it again with the "
            f"classifier's own: featcache extract {photos} --backbone CLASSIFIER --layer STAGE:map"
        )


def _same_to_cut(
    network: "LoadedBackbone",
    cache: FeatureCache,
    layer: str | None,
    have: Mapping[str, Any],
    want: Mapping[str, Any],
) -> bool:
    """Return whether two recipes that differ mean the same network as far as the cut."""
    try:
        name = _map_layer(network, cache, layer)
    except UsageError:
        return False
    mine = LayerIdentity(want, name, network.weights_sha256_to(name))
    return mine.same_as(cache.layers[name].identity(have, name))


def _map_layer(network: "LoadedBackbone", cache: FeatureCache, layer: str | None) -> str:
    """Return the layer of a cache that holds the unpooled output of a stage."""
    order = network.network.order
    stages = {name: split_layer(name) for name in cache.layers if not name.startswith("image:")}
    maps = [name for name, (stage, pooling) in stages.items() if stage in order and pooling in ("map", None)]
    if layer is not None and layer not in cache.layers:
        raise UnknownNameError(f"{cache.path} holds no layer {layer!r}; it holds {', '.join(cache.layers)}")
    if (layer is not None and layer not in maps) or not maps:
        raise UsageError(
            f"{cache.path} holds no output of a whole stage{'' if layer is None else f' in {layer}'} (it holds "
            f"{', '.join(cache.layers)}); make one with: featcache extract DATASET --layer STAGE:map"
        )
    if layer is None and len(maps) > 1:
        raise UsageError(f"{cache.path} holds several cuts, {', '.join(maps)}; choose one with --layer")
    return layer or maps[0]
