"""Records of experiments as a page: what is on it, what is refused, and that nothing of a record runs."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.experiment_records import CONTENT
from records import Comparison, write_record

import featcache
from featcache.cli import main
from featcache.errors import DataError, MissingFileError, UsageError

pytestmark = pytest.mark.skipif(find_spec("jinja2") is None, reason="the extra report is not installed")

HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m\"'&"
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154"
    "08d763f8ffff3f0005fe02fe0def46b80000000049454e44ae426082"
)


@pytest.fixture
def results(tmp_path) -> Path:
    folder = tmp_path / "results"
    write_record(folder, "e1_x", **CONTENT | {"title": "E1: x", "figures": ["e1.png", "gone.png"]})
    (folder / "e1.png").write_bytes(PIXEL)
    write_record(folder, "e2_y", **CONTENT | {"title": "E2: y", "small": True})
    return folder


def edited(path: Path, **changes) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def test_a_folder_of_records_is_a_table_and_a_section_for_each(results):
    page = featcache.report(results)
    assert [each.key for each in page.sections] == ["records", "record-1", "record-2"]
    assert page.summary.headline == "2 records, 1 of them of a stand-in, which only show that the script runs"
    assert page.sections[0].headline == "4 numbers of 2 records"
    texts = [[cell["text"] for cell in row[2:5]] for row in page.sections[0].content["cells"]]
    assert texts[0] == ["90.0 %", "89.4 %", "86.7–92.0 %"]
    assert texts[2] == ["90.0 %", "–", ""]
    text = page.html
    for said in (
        "89.4 %",
        "86.7–92.0 %",
        "7.31×",
        "a stand-in: its numbers mean nothing",
        "E1: x",
        "&#34;epochs&#34;: 6",
    ):
        assert said in text, said
    assert text.count("data:image/png;base64,") == 1
    assert "gone.png is not shown: it is not there." in text
    assert page.to_json()["sections"]["records"]["records"][1]["title"] == "E2: y"


def test_records_of_a_folder_come_by_number(results):
    write_record(results, "e10_z", **CONTENT)
    page = featcache.report(results)
    assert [each.title for each in page.sections] == ["Numbers", "1. e1_x", "2. e2_y", "3. e10_z"]


def test_single_records_from_the_command_line(results, tmp_path, capsys):
    target = tmp_path / "page.html"
    assert main(["report", str(results / "e2_y.json"), str(results / "e1_x.json"), "-o", str(target)]) == 0
    titles = re.findall(r'<p class="kicker"[^>]*>([^<]*)', target.read_text())
    assert titles == ["Numbers", "1. e2_y", "2. e1_x"]
    assert "2 records, 1 of them of a stand-in" in capsys.readouterr().out


def test_nothing_of_a_record_runs_or_hides(results):
    comparison = {
        "what": HOSTILE,
        "published": 1,
        "ours": None,
        "interval": None,
        "unit": HOSTILE[:20],
        "note": HOSTILE,
    }
    edited(
        results / "e1_x.json",
        title=HOSTILE,
        name=HOSTILE,
        command=HOSTILE,
        weights={HOSTILE: HOSTILE},
        settings={HOSTILE: [HOSTILE]},
        hardware={HOSTILE: HOSTILE},
        comparisons=[comparison],
        figures=[HOSTILE],
    )
    text = featcache.report(results).html
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 9


@pytest.mark.parametrize(
    "name", ["/etc/hostname.png", "../secret.png", "link.png", "a\\..\\b.png", "notes.txt", "x\0.png"]
)
def test_a_figure_elsewhere_is_not_shown(results, name):
    (results.parent / "secret.png").write_bytes(PIXEL)
    (results / "notes.txt").write_text("hello")
    (results / "link.png").symlink_to(results.parent / "secret.png")
    edited(results / "e1_x.json", figures=[name])
    page = featcache.report(results / "e1_x.json")
    (figure,) = page.sections[1].content["figures"]
    assert figure["url"] == ""
    assert figure["why"]
    assert "data:image" not in page.html


def test_a_figure_of_more_than_a_megabyte_is_named(results):
    (results / "e1.png").write_bytes(PIXEL + bytes(1 << 20))
    text = featcache.report(results / "e1_x.json").html
    assert "e1.png is not shown: it is larger than a megabyte." in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"images": "many"},
            r"e1_x\.json is damaged: images is 'many', expected a whole number of at least 0; run the",
        ),
        ({"comparisons": [{}]}, r"comparisons\[0\]\.what is missing, expected a text"),
        (
            {"format_version": 2},
            r"e1_x\.json has format version 2, this featcache reads 1: upgrade featcache",
        ),
        ({"seconds": {"all": -1}}, r"seconds\.all is -1, expected a number of at least 0"),
    ],
)
def test_a_damaged_record_is_named_with_what_is_wrong(results, changes, message):
    with pytest.raises(DataError, match=message):
        featcache.report(edited(results / "e1_x.json", **changes))


def test_what_is_no_record_is_refused(results, tmp_path):
    other = tmp_path / "other.json"
    other.write_text('{"accuracy": 1.0}')
    with pytest.raises(
        DataError, match=r"other\.json is a file; expected a classifier, a sweep, .* or records of exp"
    ):
        featcache.report(other)
    with pytest.raises(MissingFileError, match=r"nothing at .*none\.json"):
        featcache.report(tmp_path / "none.json")
    with pytest.raises(UsageError, match="records of experiments hold numbers alone; leave out --cache"):
        featcache.report(results, split="test")


def test_records_and_a_cache_are_two_pages(results, tmp_path):
    cache = tmp_path / "cache.h5"
    cache.write_bytes(b"\x89HDF\r\n\x1a\n")
    run = tmp_path / "tuned.run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with pytest.raises(
        UsageError, match=r"tuned\.run is no record of an experiment, others here are; make a page of"
    ):
        featcache.report([results, run])


def test_a_record_is_named_once(results):
    file = results / "e1_x.json"
    for given in ([file, file], [results, results], [results, file]):
        with pytest.raises(UsageError, match=r"e1_x|results.*: one of these is named twice; name each once"):
            featcache.report(given)


def test_a_number_that_nobody_published_is_a_dash(tmp_path):
    comparisons = [Comparison("gain", None, -0.002, (-0.007, 0.003), "points")]
    write_record(tmp_path, "views", **CONTENT | {"comparisons": comparisons})
    text = featcache.report(tmp_path).html
    assert "-0.2 points" in text
    assert "-0.7 to +0.3 points" in text
