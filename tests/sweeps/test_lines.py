"""Lines of a sweep's results that were damaged and are valid JSON are told by number, never believed."""

import json
import os
import warnings
from types import SimpleNamespace

import pytest

from featcache.core.disk.jsonl import append_records, read_lines
from featcache.core.tasks import MULTICLASS, REGRESSION
from featcache.errors import FeatcacheWarning, IntegrityError
from featcache.sweeps.lines import EARLIER_LINE, LINE, value_text
from featcache.sweeps.results import RESULTS, Choice, Results

ROW = {
    "format": 1,
    "id": "1a76b431979e7092",
    "cache": "/tmp/caches/plain.h5",
    "backbone": "mobilenet_v1_025.random",
    "layer": "pool",
    "head": "logistic",
    "settings": {"c": 0.1, "class_weights": "none", "standardize": True, "views": None},
    "seed": 0,
    "fold": None,
    "protocol": {"train": "train", "val": None, "val_fraction": 0.2, "seed": 0, "folds": 0},
    "val_accuracy": 0.9,
    "val_loss": 1.499385,
    "best_epoch": 17,
    "epochs_run": 21,
    "converged": True,
}
SECOND = {**ROW, "id": "2711d97b3ea7fd72", "val_accuracy": 0.5}
EVERY = int(os.environ.get("FEATCACHE_FLIP_EVERY", "13"))
"""One of how many bits is flipped; 1 for all."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / RESULTS


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_no_flipped_bit_changes_what_a_line_says(path):
    append_records(path, [ROW, SECOND])
    whole = path.read_bytes()
    told = 0
    for bit in range(0, 8 * len(whole), EVERY):
        path.write_bytes(flipped(whole, bit))
        lines = read_lines(path, content=LINE, earlier=EARLIER_LINE)
        assert all(line.record in (None, ROW, SECOND) for line in lines), (bit, lines)
        told += any(line.record is None and line.number in (1, 2) for line in lines)
    # The others made a zero byte, or spoiled the last line's end: as a power cut or a kill would.
    assert told > 0.97 * 8 * len(whole) / EVERY


def test_damaged_lines_are_told_once_and_taken_out_and_the_others_stay_as_they_are(path):
    for number in range(15):
        append_records(path, [{**ROW, "id": str(number)}])
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = [line.replace(b'"val_accuracy": 0.9', b'"val_accuracy": 0.8') for line in lines]
    path.write_bytes(b"".join([*lines[:2], damaged[2], *lines[3:]]))
    with (
        pytest.warns(
            FeatcacheWarning,
            match=r"results\.jsonl: line 3 was damaged \(it does not match its checksum\) and was taken out; its",
        ),
        Results(path.parent) as results,
    ):
        assert list(results.rows) == [str(number) for number in range(15) if number != 2]
    assert path.read_bytes() == b"".join([*lines[:2], *lines[3:]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Results(path.parent).close()
    path.write_bytes(b"".join([*damaged[:12], *lines[12:]]))
    with (
        pytest.warns(
            FeatcacheWarning, match=r"lines 1, 2, 3, .*, 10 and 2 others were damaged \(the first: "
        ),
        Results(path.parent) as results,
    ):
        assert list(results.rows) == ["12", "13", "14"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"val_accuracy": 9.1}, r"val_accuracy is 9\.1, expected a number of at most 1\.001, or null"),
        ({"val_loss": -7.0}, r"val_loss is -7\.0, expected a number of at least -0\.001"),
        ({"settings": {"b": 0.1}}, r"settings has the key 'b', expected head, hidden, "),
        ({"settings": {"c": "none"}}, r"settings\.c is 'none', expected a number"),
        ({"protocol": {"vam": None}}, r"protocol has the key 'vam', expected train, val, "),
        ({"Seed": 1}, r"it has the key 'Seed', expected id, "),
        ({"layer": "po\u001bl"}, r"layer is 'po\\x1bl', expected a name without control characters"),
        ({"head": "logistia"}, r"head is 'logistia', expected one of linear, "),
        ({"best_epoch": -17}, r"best_epoch is -17, expected a whole number of at least 0"),
        ({"cjecksum": "crc32:00000000"}, r"its checksum has another name"),
    ],
)
def test_a_line_of_an_earlier_version_has_to_make_sense(path, changes, says):
    path.write_text("".join(json.dumps(row) + "\n" for row in (ROW, {**SECOND, **changes})))
    with (
        pytest.warns(FeatcacheWarning, match=f"line 2 was damaged \\({says}"),
        Results(path.parent) as results,
    ):
        assert results.rows == {ROW["id"]: ROW}


def test_numbers_that_json_lacks_are_damage(path):
    text = json.dumps(ROW)
    for damage in ("NaN", "1e999", "-Infinity"):
        path.write_text(text.replace("0.9", damage) + "\n" + json.dumps(SECOND) + "\n")
        with pytest.warns(FeatcacheWarning, match="line 1 was damaged"), Results(path.parent) as results:
            assert results.rows == {SECOND["id"]: SECOND}


@pytest.mark.parametrize("checksum", ["right", "none", "of another kind"])
def test_lines_of_a_newer_featcache_are_no_damage(path, checksum):
    newer = {**ROW, "format": 2, "val_accuracy": {"mean": 0.9}}
    append_records(path, [ROW, newer])
    if checksum != "right":
        other = {"checksum": "xxh3:0123"} if checksum == "of another kind" else {}
        path.write_text("".join(json.dumps({**row, **other}) + "\n" for row in (ROW, newer)))
        path.write_text(path.read_text().splitlines(keepends=True)[1])
    before = path.read_bytes()
    with pytest.raises(
        IntegrityError,
        match=r"results\.jsonl, line [12] has format 2, this featcache reads 1: .*newer featcache; upgrade featcache$",
    ):
        Results(path.parent)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1000.0, "1000"),
        (12345.0, "12300"),
        (1e7, "1e+07"),
        (0.001, "0.001"),
        (1e-5, "1e-05"),
        (None, "none"),
        (True, "yes"),
        ([256, 128], "256×128"),
        (1000, "1000"),
        ("cosine", "cosine"),
    ],
)
def test_a_setting_is_told_as_people_write_it(value, text):
    assert value_text(value) == text


def test_a_choice_of_a_regression_tells_no_percentage():
    entry = SimpleNamespace(
        key=SimpleNamespace(settings=SimpleNamespace(head="ridge"), layer="pool"), accuracy=0.5
    )
    told = {task: repr(Choice(None, entry, (), None, task=task)) for task in (MULTICLASS, REGRESSION)}
    assert told == {
        MULTICLASS: "Choice(ridge on pool: validation 50.0 %)",
        REGRESSION: "Choice(ridge on pool: validation R² 0.500)",
    }
