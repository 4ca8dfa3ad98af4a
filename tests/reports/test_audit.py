"""The sections of an audit: from its file to the page, with pictures and without, whatever files are called."""

import json
import re
from dataclasses import replace
from html import unescape
from importlib.util import find_spec

import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.report_material import HOSTILE, answers, material_of

from featcache import audit, report
from featcache.auditing.ranked import RankedList, Resembled, Suspect
from featcache.auditing.written import WrittenAudit, read_audit
from featcache.core.display import escaped
from featcache.errors import DataError, MissingFileError, UsageError
from featcache.reports.sections.audit import BESIDE, LISTED, SHOWN, sections

pytestmark = pytest.mark.skipif(find_spec("jinja2") is None, reason="the extra report is not installed")

NAMES = tuple(f"{row} {HOSTILE[row % 5]}" for row in range(300))


def suspect(row: int, **told) -> Suspect:
    near = tuple(
        Resembled(one % 300, NAMES[one % 300], HOSTILE[one % 5], "test", f"<i>like {one}</i>", 0.5)
        for one in range(row + 1, row + 7)
    )
    return Suspect(
        row, NAMES[row], HOSTILE[row % 5], "train", 1 / (row + 1), f"why {row} <b>", resembles=near, **told
    )


def found(count: int, **figures) -> RankedList:
    entries = [
        suspect(row, certain=row < 3, suggested="<u>bee</u>", leave_out=(row,) if row < 3 else (row + 1,))
        for row in range(count)
    ]
    return RankedList(
        "wrong-labels",
        "Wrong labels",
        f"{count} <b>found</b>",
        "what it <b>means</b>",
        tuple(entries),
        figures,
    )


def material(lists, *, there=True, training=None):
    labels, values = answers(300)
    made = material_of(labels, values, names=NAMES, there=there)
    assert made.classifier is not None
    told = replace(made.classifier, training=training or {})
    return replace(
        made,
        classifier=told,
        audit=WrittenAudit("x.h5", tuple(lists), {"looks": "no <b>statistics</b>"}, "it <b>helps</b>"),
    )


def rendered(made) -> str:
    from featcache.pages.page import render

    parts = [replace(each, template=f"sections/{each.template}") for each in sections(made)]
    return render("page.html", packages=("featcache.reports",), title="made up", headline="", sections=parts)


def test_without_an_audit_there_is_no_section():
    assert sections(replace(material([]), audit=None)) == ()


def test_the_first_suspects_are_shown_and_the_next_are_listed():
    (section,) = sections(material([found(290, share=0.03, interval=[0.01, 0.05], rows=300)]))
    assert (section.key, section.title, section.headline) == (
        "audit-wrong-labels",
        "Wrong labels",
        "290 <b>found</b>",
    )
    cards, content = section.content["cards"], section.content
    assert [card.name for card in cards] == list(NAMES[:SHOWN])
    assert [len(card.beside) for card in cards] == [BESIDE] * SHOWN
    assert {card.more for card in cards} == {2}
    assert (len(content["others"]), content["unlisted"]) == (LISTED, 290 - SHOWN - LISTED)
    assert [stat[:2] for stat in content["stats"]] == [
        ("3", "certain"),
        ("3.0 %", "estimated share"),
        ("3", "to leave out"),
    ]
    assert "95 % interval 1.0–5.0 %. Of 300 photos." in content["stats"][1][2]
    assert [card.left_out for card in cards[:4]] == ["would be left out"] * 3 + [""]
    assert (section.data["entries"], section.data["certain"], len(section.data["shown"])) == (290, 3, SHOWN)


@pytest.mark.parametrize("there", [True, False])
def test_names_and_reasons_are_shown_as_text_with_pictures_and_without(there):
    page = rendered(material([found(30)], there=there))
    assert "<script>alert" not in page
    assert page.count("<script>") == 1, "the page's own"
    for tag in ("<b>found", "<b>means", "<i>like", "<u>bee", "<b>statistics", "<b>helps"):
        assert tag not in page
    text = unescape(re.sub(r"<[^>]*>", "", page))
    for row in range(30):
        assert escaped(NAMES[row]) in text
    for said in (
        "why 29 <b>",
        "<u>bee</u>",
        "It <b>helps</b>.",
        "no <b>statistics</b>",
        "what it <b>means</b>",
    ):
        assert said in text
    assert ("no picture" in text) is not there
    assert ("There are no pictures of these photos." in text) is not there


def test_what_a_list_has_left_out_of_training_already_is_said():
    (section,) = sections(material([found(5)], training={"selection": {"exclude": [NAMES[1], NAMES[4]]}}))
    assert [bool(card.left_out == "left out of this classifier's training") for card in section.content["cards"]] == [
        False, True, False, False, True,
    ]  # fmt: skip
    assert section.content["stats"][-1][:2] == ("2", "left out already")


def test_a_list_of_nothing_says_so():
    assert "Nothing was found." in rendered(material([found(0)]))


# From the file ------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path):
    features, labels = blobs(40)
    return feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 30 + ["test"] * 10)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_file_is_shown_as_the_audit_that_wrote_it(cache, tmp_path, wrapped):
    made = audit(cache, only="imbalance,outliers")
    value = made.to_json()
    (tmp_path / "a.json").write_text(
        json.dumps({"version": 1, "command": "audit", "result": value} if wrapped else value)
    )
    read = read_audit(tmp_path / "a.json")
    assert read.lists == tuple(made.lists)
    pages = [report(cache.path, audit=given, pictures=0) for given in (tmp_path / "a.json", made)]
    keys = [[section.key for section in page.sections if section.key.startswith("audit-")] for page in pages]
    assert keys == [["audit-outliers", "audit-imbalance"]] * 2
    assert pages[0].to_json()["sections"] == pages[1].to_json()["sections"]


def test_an_audit_can_be_made_for_the_page(cache, monkeypatch):
    from featcache.auditing import audit as auditing

    asked = []

    def short(given, **how):
        asked.append((given, how["layer"]))
        return audit(given, only="imbalance")

    monkeypatch.setattr(auditing, "audit", short)
    page = report(cache.path, audit="run", pictures=0)
    assert "audit-imbalance" in [section.key for section in page.sections]
    assert asked[0][1] is None


def test_other_files_and_audits_of_other_photos_are_refused(cache, tmp_path):
    place = tmp_path / "a.json"
    with pytest.raises(
        MissingFileError, match=r"no file .*a\.json: expected the lists of an audit, as featcache audit"
    ):
        report(cache.path, audit=place)
    for text, told in (
        ("", "not an audit"),
        ("[]", "not an audit: it is a list of 0, expected an object"),
        ('{"result": []}', "it is a list of 0, expected an object"),
        (
            '{"cache": "x"}',
            r"lists is missing, expected a list .*; write it again: featcache audit CACHE --json > FILE",
        ),
        (
            '{"cache": "x", "lists": [{"kind": "A b", "title": "", "finding": "", "meaning": "", "entries": [], '
            '"figures": {}}]}',
            r"lists\[0\]\.kind is 'A b', expected a name of small letters",
        ),
    ):
        place.write_text(text)
        with pytest.raises(DataError, match=told):
            report(cache.path, audit=place)
    for text in (
        "list,rank,file\n",
        "# What featcache audit would leave out of a.h5.\nid,reason\n",
        "id,reason\n",
    ):
        place.write_text(text)
        with pytest.raises(
            UsageError, match=r"is a table, of featcache audit --csv or --exclude-list; .* --audit run"
        ):
            report(cache.path, audit=place)
    value = audit(cache, only="imbalance").to_json()
    for entry in value["lists"][0]["entries"]:
        entry["id"] = f"other/{entry['id']}"
    place.write_text(json.dumps(value))
    with pytest.raises(
        UsageError, match=r"a\.json is an audit of .*x\.h5, and .*x\.h5 holds none of its 3 photos; name"
    ):
        report(cache.path, audit=place)
    value["lists"][0]["entries"][0]["id"] = cache.ids[0]
    place.write_text(json.dumps(value))
    page = report(cache.path, audit=place, pictures=0)
    assert any(
        "2 photos of the audit of " in note and "without a picture" in note for note in page.material.notes
    )
