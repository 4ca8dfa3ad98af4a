"""The metadata of a cache: names, labels and groups of its images, and the recipe of their features."""

from functools import cached_property
from typing import Any

import numpy as np

from featcache.cache.extraction_cost import ExtractionCost
from featcache.cache.row_store import StoredRows
from featcache.core.columns.name_column import decode_ids
from featcache.core.display import html_table, some
from featcache.core.identity import plain_recipe
from featcache.core.tasks import MULTICLASS, REGRESSION


class CacheMetadata:
    """The identity and the row table of a cache, without its features; see `featcache.cache.FeatureCache`."""

    identity: dict[str, Any]
    labels: np.ndarray
    targets: np.ndarray | None
    _stored: StoredRows
    _ids: np.ndarray
    _splits: np.ndarray
    _groups: np.ndarray | None

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Names of the images, relative to the dataset."""
        return decode_ids(self._ids)

    @cached_property
    def groups(self) -> tuple[str, ...] | None:
        """Group of each image, empty where it has none; ``None`` where no image has one."""
        return None if self._groups is None else decode_ids(self._groups)

    @property
    def task(self) -> str:
        """The task: ``"classes"`` (multiclass), ``"answers"`` (multilabel), or ``"numbers"`` (regression)."""
        return self.identity["dataset"].get("task", MULTICLASS)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; labels are indices into them. In multilabel and regression tasks, names of the `targets`."""
        return tuple(self.identity["dataset"]["classes"])

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.identity["dataset"]["splits"])

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything that determined the features of the plain images, view 0; see `featcache.core.identity.Recipe`.

        How the other views were drawn is in ``identity["recipe"]["views"]``.
        """
        return plain_recipe(self.identity["recipe"])

    @property
    def views(self) -> int:
        """Number of views of each image, the plain one included."""
        return self.identity["recipe"]["views"]["count"]

    @property
    def backbone(self) -> str:
        """``arch.tag`` of the backbone."""
        return self.identity["provenance"]["backbone"]

    @property
    def extraction_cost(self) -> ExtractionCost | None:
        """What the extraction took; ``None`` of caches of earlier versions, and of unfinished ones."""
        return self._stored.cost()

    @property
    def known(self) -> np.ndarray:
        """The values to be learnt: labels int32 ``[N]``, or `targets` float32 ``[N, T]``."""
        return self.labels if self.targets is None else self.targets

    @property
    def split_numbers(self) -> np.ndarray:
        """The split of every row ``[N]``, as an index into `splits`."""
        return self._splits

    def split_names(self) -> list[str]:
        """Return the split of every row."""
        return [self.splits[index] for index in self._splits]

    def label_of(self, row: int) -> str:
        """Return a row's class, labels or numbers in words; empty where images have no labels."""
        if self.targets is None:
            number = int(self.labels[row])
            return self.classes[number] if 0 <= number < len(self.classes) else ""
        values = zip(self.classes, self.targets[row].tolist(), strict=True)
        if self.task == REGRESSION:
            return ", ".join(f"{name} {value:.6g}" for name, value in values)
        return ", ".join(name for name, value in values if value > 0.5) or "none"

    def _repr_html_(self) -> str:
        counts = dict(zip(self.splits, np.bincount(self._splits, minlength=len(self.splits)), strict=False))
        rows = [
            ("backbone", self.backbone),
            ("images", ", ".join(f"{name} {count}" for name, count in counts.items())),
            (self.task, f"{len(self.classes)}: {some(self.classes, 20)}"),
            ("layers", ", ".join(own["name"] for own in self.identity["layers"])),
        ]
        return html_table(str(getattr(self, "path", "")), rows)
