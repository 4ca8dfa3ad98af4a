"""Arrays of hashes and of names against the plain dictionaries and sets that they stand for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.core.columns.digest_array import (
    DigestRows,
    digest_array,
    is_among,
    is_known,
    is_repeated,
    last_places,
    sortable,
)
from featcache.core.columns.name_column import NameColumn, decode_ids, encode_ids

# Few different ones, among them what ends in zeros, or is nothing but zeros: numpy takes those for padding.
DIGEST = st.sampled_from(
    [
        bytes(32),
        b"\1" + bytes(31),
        b"\1\0\2" + bytes(29),
        bytes(31) + b"\1",
        b"\xff" * 32,
        b"\xff" * 31 + b"\0",
    ]
)
DIGESTS = st.lists(DIGEST, max_size=12)
NAMES = st.lists(st.text("ab\u00e9\udc80/.", max_size=4), max_size=8)


@given(DIGESTS, DIGESTS)
def test_the_last_place_is_that_of_a_dictionary(keys, wanted):
    of = {key: place for place, key in enumerate(keys)}
    held, asked = (sortable(digest_array(each)) for each in (keys, wanted))
    assert last_places(held, asked).tolist() == [of.get(key, -1) for key in wanted]
    assert is_among(asked, held).tolist() == [key in of for key in wanted]


@given(DIGESTS)
def test_repeated_and_known_ones_are_counted_as_bytes_are(keys):
    array = digest_array(keys)
    assert is_repeated(sortable(array)).tolist() == [keys.count(key) > 1 for key in keys]
    assert is_known(array).tolist() == [key != bytes(32) for key in keys]
    assert [*DigestRows(array)] == [DigestRows(array)[row] for row in range(len(keys))] == keys
    assert digest_array(DigestRows(array)) is array


@given(NAMES, NAMES)
def test_names_are_looked_up_whatever_the_widths_of_their_columns(names, wanted):
    of = {name: place for place, name in enumerate(names)}
    assert last_places(encode_ids(names), encode_ids(wanted)).tolist() == [of.get(n, -1) for n in wanted]


@given(NAMES)
def test_a_column_of_names_is_the_names(names):
    column = NameColumn(encode_ids(names))
    assert decode_ids(column.encoded) == tuple(names)
    assert column == names == [column[row] for row in range(len(names))]
    assert [*column[1:]] == names[1:]
    assert encode_ids(column) is column.encoded
    assert hash(column) == hash(tuple(names))
    assert column != [*names, "x"]


def test_a_name_outside_a_column_is_an_error():
    with pytest.raises(IndexError, match="out of bounds"):
        NameColumn(encode_ids(["a"]))[1]
