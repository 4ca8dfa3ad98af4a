"""Options behind the path in a spec: what is read, what is refused, and what is written again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.datasets import open_dataset
from featcache.datasets.spec_options import read_options, with_option, with_options, written
from featcache.errors import UsageError

KNOWN = ("root", "suffix")


@pytest.mark.parametrize(
    ("text", "path", "options"),
    [
        ("photos", "photos", {}),
        ("what?", "what?", {}),
        ("a?b/c?root=d", "a?b/c", {"root": "d"}),
        ("x?root=a%26b&suffix=.jpg", "x", {"root": "a&b", "suffix": ".jpg"}),
        ("x?root=größe 1", "x", {"root": "größe 1"}),
        ("x?&root=a", "x?&root=a", {}),
        ("x?root=a=b&", "x", {"root": "a=b"}),
    ],
)
def test_options_are_read_behind_the_path(text, path, options):
    assert read_options("lists", text, KNOWN) == (path, options)


@pytest.mark.parametrize("kind", ["", "lists:"])
def test_a_place_of_the_whole_name_is_meant(tmp_path, kind):
    (tmp_path / "x?root=a").mkdir()
    assert read_options("lists", f"{kind}{tmp_path}/x?root=a", KNOWN) == (f"{kind}{tmp_path}/x?root=a", {})


@pytest.mark.parametrize("kind", ["folder", "lists", "csv", "coco"])
@pytest.mark.parametrize("twice", [False, True])
def test_every_source_refuses_them_in_the_same_words(kind, twice):
    first = "label_from" if kind == "folder" else "root"
    other = f"{first}=b" if twice else f"{first}s=b"
    spec = f"{kind}:x.json?{first}=a&{other}"
    what = f"option {first} is given twice; give it once" if twice else f"no option '{first}s'; did you mean"
    with pytest.raises(UsageError) as told:
        open_dataset(spec)
    assert str(told.value).startswith(f"dataset {spec!r}: {what}")


@pytest.mark.parametrize("kind", ["folder", "lists", "csv", "coco"])
def test_a_value_is_needed(kind):
    first = "splits" if kind == "folder" else "root"
    with pytest.raises(UsageError, match=f"option {first} has no value; expected {first}=VALUE$"):
        open_dataset(f"{kind}:x.json?{first}=")


@given(st.dictionaries(st.sampled_from(KNOWN), st.text(min_size=1).filter(str.isprintable), min_size=1))
def test_what_is_written_is_read_again(options):
    spec = with_options("lists:photos", options)
    assert spec == f"lists:photos?{written(options)}"
    assert read_options("lists", spec, KNOWN) == ("lists:photos", options)


def test_other_options_stay_as_they_are():
    spec = with_option("photos?splits=none", "label_from", "größe&{label}", ("folder", "csv"))
    assert spec == "folder:photos?splits=none&label_from=größe%26{label}"
