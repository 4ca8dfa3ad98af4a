"""Load a backbone that is named by its architecture, with published or random weights, or from a file."""

from pathlib import Path

from featcache.backbones import finetuned
from featcache.backbones.family import Pretrained
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.registry import resolve
from featcache.backbones.weights import download
from featcache.backbones.weights.levels import split_part
from featcache.backbones.weights.loading import load_file, load_random
from featcache.backbones.weights.other_sizes import of_other_size
from featcache.core.disk.names import require_file
from featcache.errors import WeightsError


def load_named(name: str, weights: str | Path | None = None, *, recorded: bool = False) -> LoadedBackbone:
    """Load a backbone as `featcache.backbones.load` does, where neither name nor weights are a classifier's folder.

    With `recorded`, `weights` are what a classifier names: of several levels of a checkpoint, the first is meant, as
    before there was a choice; the classifier's identity tells whether these are its weights.
    """
    wanted = resolve(name)
    if weights == "random":
        return load_random(wanted)
    if weights is None:
        return download.obtain(wanted, lambda path: _load(wanted, path, wanted.tag))
    path, part = split_part(weights)
    missing = f"no weights file {path}; pass --weights the path of an existing file"
    require_file(path, "a weights file", missing=missing)
    if about := finetuned.read_metadata(path):
        return finetuned.load_finetuned(path, about, arch=wanted.arch)
    published = part is None and download.is_pinned(wanted, path)
    return _load(wanted, path, wanted.tag if published else "custom", part=part, first=recorded)


def _load(
    wanted: Pretrained, path: Path, tag: str, *, part: str | None = None, first: bool = False
) -> LoadedBackbone:
    try:
        return load_file(wanted, path, tag=tag, part=part, first=first)
    except WeightsError as error:
        if better := of_other_size(wanted, path):
            raise better from error
        raise
