"""``--label-from`` along the way of photos: checked, extracted, a head trained, scored; and what a table is said of."""

from pathlib import Path

import pytest
from helpers.fake_network import FakeNetwork
from helpers.photo_folders import save_photo

from featcache import extract, plan_extraction

pytestmark = pytest.mark.usefixtures("small_backbone")
TEMPLATE = "{label}.{}.png"
OPTION = ("--label-from", TEMPLATE)


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """A flat folder of 12 cats and 12 dogs."""
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        for number in range(12):
            save_photo(Path(f"photos/{name}.{number}.png"), f"{name}/{number}.png")
    return Path("photos")


def test_one_option_is_pointed_out_and_checks(cli, photos):
    refused = cli("extract", "photos")
    assert refused.code != 0
    assert (
        f"--label-from '{TEMPLATE}' (label_from= in Python) would give 2 classes: cat 12, dog 12"
        in refused.err
    )
    checked = cli("data", "check", "photos", *OPTION)
    assert (checked.code, checked.err) == (0, "")
    assert checked.out.startswith(f"folder:photos?label_from={TEMPLATE}: 24 images, 2 classes")


def test_the_cache_remembers_it(photos):
    plan = plan_extraction(photos, label_from=TEMPLATE, backbone=FakeNetwork(), output="x.h5")
    assert (plan.images, plan.classes) == (24, 2)
    done = extract(photos, label_from=TEMPLATE, backbone=FakeNetwork(), output="x.h5")
    spec = done.cache.identity["dataset"]["spec"]
    assert (done.cache.classes, spec) == (("cat", "dog"), f"folder:photos?label_from={TEMPLATE}")
    assert [name.split(".")[0] for name in done.cache.ids] == [
        done.cache.classes[label] for label in done.cache.labels
    ]
    assert extract(spec, backbone=FakeNetwork(), output="x.h5").computed == 0


def test_photos_are_scored_by_their_names(cli, photos, trained):
    scored = cli("evaluate", str(trained.folder), "photos", *OPTION, "--json")
    assert (scored.code, scored.result["count"]) == (0, 24)


def test_without_photos_there_are_no_names(cli, photos, trained):
    refused = cli("evaluate", str(trained.folder), *OPTION)
    assert refused.code == 2
    assert (
        "--label-from {label}.{}.png: it is for photos, and none are given; name their folder" in refused.err
    )
    refused = cli("evaluate", str(trained.folder), "--allow-empty-classes")
    assert refused.code == 2
    assert "--allow-empty-classes: it is for photos, and none are given; name their folder" in refused.err


@pytest.mark.slow
def test_fine_tuning_takes_the_options_too(cli, photos, trained):
    for number in range(12):
        save_photo(photos / f"owl.{number}.png", f"owl/{number}.png")
    planned = cli(
        "finetune", str(trained.folder), "photos", *OPTION, "--train-from", "head", "--dry-run", "--json"
    )
    assert sum(planned.result[split] for split in ("train", "val", "test")) == 36
    for options in (OPTION, ("--splits", "none"), ("--classes-at", "2"), ("--allow-empty-classes",)):
        refused = cli("finetune", str(trained.folder), *options)
        assert refused.code == 2
        assert f"{' '.join(options)}: it is for photos, and none are given; name their folder" in refused.err


def test_names_that_do_not_fit_are_shown_to_the_command(cli, photos):
    save_photo(photos / "7.png", "cat/7.png")
    ran = cli("data", "check", "photos", *OPTION)
    assert ran.err.startswith(
        "error: photos: 1 of 25 names do not fit --label-from '{label}.{}.png': '7.png'; 24 do"
    )


def test_what_a_table_is_taken_for_is_a_line_of_its_own(cli, photos):
    lines = [f"photos/{path.name},{float(path.name.startswith('dog'))}" for path in sorted(photos.iterdir())]
    Path("t.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    ran = cli("data", "check", "csv:t.csv")
    assert ran.err == (
        "warning: csv:t.csv: column label holds whole numbers (0.0 is 0): 2 classes, 0, 1; task=numbers takes them as "
        "numbers\n"
    )
