"""Photos are divided as the head saw them, whichever featcache drew its test rows; new ones keep copies together."""

import hashlib
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from helpers.photo_folders import photo_folder, save_photo

from featcache import open_dataset
from featcache.cache.layout import table_digest
from featcache.extraction.planning.row_table import SplitRule, build_rows
from featcache.finetuning.data import _divided


def test_the_rows_of_an_earlier_split_are_found_again(tmp_path):
    photos = photo_folder(tmp_path / "photos", {"cat": 9, "dog": 9})
    for kind in ("cat", "dog"):
        for number in range(5):
            shutil.copy(photos / kind / f"{number}.png", photos / kind / f"copy {number}.png")

    def opened():
        data = open_dataset(str(photos))
        return data, [hashlib.sha256((photos / record.id).read_bytes()).digest() for record in data.records]

    def torn(table):
        keys = [key.tobytes() for key in np.asarray(table.sha256)]
        return sum(
            len({s for k, s in zip(keys, table.splits, strict=True) if k == key}) > 1 for key in set(keys)
        )

    data, hashes = opened()
    for seed in range(4):
        for rule in (SplitRule(0.2, seed), replace(SplitRule(0.2, seed), together=False)):
            table, splits, told = build_rows(data, hashes, rule)
            seen = SimpleNamespace(
                provenance={"split_rule": told, "rows_sha256": table_digest(table.columns())}
            )
            again, names = _divided(seen, data, hashes)  # pyright: ignore[reportArgumentType]
            assert np.asarray(again.splits).tolist() == np.asarray(table.splits).tolist()
            assert names == splits
        # Of other photos the drawing is anew, and copies are together.
        grown = save_photo(photos / "cat" / f"new {seed}.png")
        assert torn(_divided(seen, *opened())[0]) == 0  # pyright: ignore[reportArgumentType]
        grown.unlink()
