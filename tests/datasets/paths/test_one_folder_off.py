# ruff: noqa: E501 - a situation is one line
"""Sources named one folder too high or too low, or mistyped: the error names the one that is there."""

import re

import pytest

from featcache.datasets import open_dataset
from featcache.errors import DataError, MissingFileError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"{}")


@pytest.mark.parametrize(
    ("files", "spec", "says"),
    [
        ("flowers/state.json", "hf:{root}", "{root} holds no dataset of the Hugging Face library; did you mean hf:{root}/flowers?"),
        ("x/data/train-00000-of-00001.parquet", "hf:{root}", "did you mean hf:{root}/x?"),
        ("flowers/dataset_dict.json", "hf:{root}/flower", "nothing at {root}/flower; did you mean {root}/flowers? Nothing is"),
        ("shards/a-000.tar", "tar:{root}", "no shard matches tar:{root}; did you mean tar:{root}/shards?"),
        ("shards/train-000.tar", "tar:{root}/shards/trian-000.tar", "did you mean {root}/shards/train-000.tar?"),
        ("food/meta/train.txt", "lists:{root}", "{root} holds no split lists; did you mean lists:{root}/food?"),
        ("food/train.txt|food/images/a.jpg", "lists:{root}/food/images", "did you mean lists:{root}/food?"),
        ("tfds/tiny/1.0.0/dataset_info.json", "tfds:tiny?data_dir={root}", "tiny is not prepared in {root} (it is in {root}/tfds)"),
        ("tiny/1.0.0/dataset_info.json", "tfds:tiny?data_dir={root}/tiny", "is not prepared in {root}/tiny (it is in {root})"),
        ("photos.csv", "csv:{root}/phots.csv", "no file {root}/phots.csv; did you mean {root}/photos.csv?"),
    ],
)  # fmt: skip
def test_the_one_that_is_there_is_named(tmp_path, monkeypatch, files, spec, says):
    monkeypatch.setenv("FEATCACHE_OFFLINE", "1")
    touch(tmp_path, *files.split("|"))
    with pytest.raises((DataError, MissingFileError), match=re.escape(says.format(root=tmp_path))):
        open_dataset(spec.format(root=tmp_path))


@pytest.mark.parametrize("kind", ["hf", "tar", "lists"])
def test_where_nothing_is_near_what_is_expected_is_said(tmp_path, kind):
    (tmp_path / "alone").mkdir()
    with pytest.raises(DataError, match="expected "):
        open_dataset(f"{kind}:{tmp_path / 'alone'}")
