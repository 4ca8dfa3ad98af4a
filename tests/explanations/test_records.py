"""How explained photos are named, and that each is read once."""

import pytest

from featcache.explanations.records import told_names


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (["/data/f/a/1.jpg", "/data/f/b/1.jpg"], ["a/1.jpg", "b/1.jpg"]),
        (["photos/1.jpg", "photos/deep/1.jpg"], ["1.jpg", "deep/1.jpg"]),
        (["/x/1.jpg"], ["1.jpg"]),
        (["a/1.jpg", "/a/1.jpg"], ["a/1.jpg", "/a/1.jpg"]),
        (["0", "1"], ["0", "1"]),
        (["same/1.jpg", "same/1.jpg"], ["1.jpg", "1.jpg"]),
        ([], []),
    ],
)
def test_a_folder_that_all_share_is_not_said(ids, told):
    assert told_names(ids) == told
