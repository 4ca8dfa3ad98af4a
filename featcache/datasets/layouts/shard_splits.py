"""Splits that the names of tar shards tell, or the folders that their samples are in."""

import re
from collections.abc import Mapping, Sequence

from featcache.core.display import some
from featcache.core.warning import warn
from featcache.datasets.dataset import UNSPLIT
from featcache.datasets.layouts.split_words import exact_split, split_of, split_within


def splits_by_names(samples: Sequence[tuple[str, str, str | None]], spec: str) -> list[str]:
    """Return the split of each sample; where other names than those of the shards' beginnings tell it, that is said.

    Parameters
    ----------
    samples
        The shard that each is in, relative to the others' common folder; the name of its image; and the split that it
        says itself, if any: then no other names are asked.
    spec
        The dataset, for the message.
    """
    prefixes = {shard: _prefix(shard) for shard, _, _ in samples}
    if any(prefixes.values()) or any(said for _, _, said in samples):
        return [prefixes[shard] for shard, _, _ in samples]
    if shards := splits_of_shards([*prefixes]):
        warn(_said(shards, spec))
        return [shards[shard] for shard, _, _ in samples]
    if folders := splits_of_folders([member for _, member, _ in samples]):
        warn(_said(folders, spec))
        return [folders[_first_folder(member)] for _, member, _ in samples]
    return [UNSPLIT] * len(samples)


def _prefix(shard: str) -> str:
    """Return the split with which a shard's file name begins: ``train-000.tar``."""
    prefix = re.match(r"[a-z]+(?=[-_.])", shard.rpartition("/")[2].casefold())
    return (exact_split(prefix[0]) or UNSPLIT) if prefix else UNSPLIT


def splits_of_shards(shards: Sequence[str]) -> Mapping[str, str]:
    """Return the split of each shard whose name, or that of the folder it is in, holds the word of one split.

    Parameters
    ----------
    shards
        Relative paths, such as ``imagenet-train-0001.tar`` or ``val/0001.tar``.

    Returns
    -------
    mapping
        Of all shards; empty where one tells none, or all tell the same, which may be part of the dataset's name.
    """
    return _told({shard: _split_of_shard(shard) for shard in shards})


def splits_of_folders(members: Sequence[str]) -> Mapping[str, str]:
    """Return the split of each folder that samples in tar shards are in: ``train/cat/1.jpg``.

    Parameters
    ----------
    members
        Names of images in their shards.

    Returns
    -------
    mapping
        From the first folder of a name; empty where one is no split, or all are of the same.
    """
    return _told({name: split_of(name) for name in {_first_folder(member) for member in members}})


def _first_folder(member: str) -> str:
    return member.partition("/")[0] if "/" in member else ""


def _said(splits: Mapping[str, str], spec: str) -> str:
    names: dict[str, list[str]] = {}
    for name, split in splits.items():
        names.setdefault(split, []).append(name)
    taken = "; ".join(f"{some(sorted(names[split]), 3)} as {split}" for split in sorted(names))
    return f"{spec}: splits are taken from the names: {taken}"


def _told(splits: Mapping[str, str | None]) -> Mapping[str, str]:
    told = {name: split for name, split in splits.items() if split is not None}
    return told if len(told) == len(splits) and len({*told.values()}) > 1 else {}


def _split_of_shard(shard: str) -> str | None:
    folder, _, name = shard.rpartition("/")
    return split_within(name.removesuffix(".tar")) or split_of(folder.rpartition("/")[2])
