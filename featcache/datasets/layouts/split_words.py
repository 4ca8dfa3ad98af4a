"""Names of folders and files that stand for a split, in the spellings that published datasets have."""

import re

from featcache.splits.slices import SPLITS

WORDS = {
    **SPLITS,
    "trn": "train",
    "trainval": "train",
    "vali": "val",
    "validate": "val",
    "devel": "val",
    "tst": "test",
    "tests": "test",
    "eval": "test",
    "evaluation": "test",
    "holdout": "test",
    "heldout": "test",
}
"""Words that mean a split in the name of a folder or of a shard.

Tables, lists, slices and what `splits` says know fewer, `featcache.splits.slices.SPLITS`: there a word stands alone,
and a wrong guess would go unseen, while of a folder what lies in and beside it is looked at, too.
"""

FILLERS = frozenset(
    {"set", "sets", "subset", "data", "dataset", "datasets", "split", "splits", "seg", "sample", "samples"}
    | {"image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pic", "pics"}
    | {"folder", "folders", "dir", "file", "files", "jpg", "jpeg", "png"}
)
"""Words that say nothing beside the word of a split."""

UNLABELLED = frozenset({"unknown", "unlabelled", "unlabeled", "unclassified", "nolabel", "nolabels", "all"})
"""Names of a folder in a test split that holds images without labels."""

_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_]+|\d+")
_GLUED = re.compile(rf"({'|'.join(sorted(FILLERS, key=len, reverse=True))})")


def exact_split(name: str) -> str | None:
    """Return the split of the plainest names, ``Training`` but not ``training_set``, in any case."""
    return SPLITS.get(name.casefold())


def split_of(name: str) -> str | None:
    """Return the split that a folder's name stands for, in any spelling; ``None`` where other words stand in it.

    Examples
    --------
    >>> [split_of(name) for name in ("training_set", "images-val", "seg_test", "TestData", "val2017")]
    ['train', 'val', 'test', 'test', 'val']
    >>> [split_of(name) for name in ("test_negative", "trainA", "contest", "train_test")]
    [None, None, None, None]
    """
    words = _words(name)
    if (whole := _word("".join(words))) is not None:
        return whole
    splits = [split for word in words if (split := _word(word)) is not None]
    told = [word for word in words if _word(word) is not None or word in FILLERS]
    return splits[0] if len(splits) == 1 and len(told) == len(words) else None


def names_splits(name: str) -> bool:
    """Return whether the word of any split stands in a name: ``train_test_split.txt``."""
    return any(_word(word) for word in _words(name))


def split_within(name: str) -> str | None:
    """Return the one split of which a word stands in a name, whatever else does: ``imagenet-train-0001.tar``."""
    splits = {split for word in _words(name) if (split := _word(word)) is not None}
    return splits.pop() if len(splits) == 1 else None


def says_nothing(name: str) -> bool:
    """Return whether a folder's name is no class's: ``images``, ``test_data``, ``unlabelled``."""
    words = _words(name)
    bare = bool(words) and FILLERS.issuperset(words)
    return split_of(name) is not None or "".join(words) in UNLABELLED or bare


def _words(name: str) -> list[str]:
    return [word.casefold() for word in _PARTS.findall(name) if not word.isdecimal()]


def _word(word: str) -> str | None:
    """Return the split of one word, to which a filler may be glued: ``trainset``."""
    if word in WORDS:
        return WORDS[word]
    rest = [part for part in _GLUED.split(word) if part and part not in FILLERS]
    return WORDS.get(rest[0]) if len(rest) == 1 else None
