"""Datasets without labels: for similarity search, clustering and predictions, not for heads."""

from dataclasses import replace

from featcache.core.argument_types import spelled
from featcache.core.tasks import UNLABELLED
from featcache.datasets.dataset import Dataset


def without_labels(data: Dataset) -> Dataset:
    """Return the same images under the same ids and splits, without their labels."""
    if data.task == UNLABELLED:
        return data
    records = [replace(record, label=-1, target=None) for record in data.records]
    return replace(data, classes=(), records=records, task=UNLABELLED)


def features_alone(spec: str) -> str:
    """Return how features of images without labels are had, as the end of an error about their labels."""
    if spelled("unlabelled").startswith("--"):
        return f"for features without labels: featcache extract {spec} --unlabelled"
    return f"for features without labels: featcache.extract({spec!r}, unlabelled=True)"
