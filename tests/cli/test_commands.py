"""Every command on small data: text for people, one JSON object for programs, hints only where wanted."""

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder

from featcache import Classifier, FeatureCache
from featcache.classifier.calibration import Calibration
from featcache.classifier.prediction import backbone_predictor
from featcache.classifier.rejection import Rejection
from featcache.cli.commands.train_head import unknown_lines
from featcache.core.display import percent
from featcache.extraction.resolved import backbone_label

pytestmark = pytest.mark.usefixtures("small_backbone")


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """A small dataset in the working directory."""
    monkeypatch.chdir(tmp_path)
    return photo_folder(Path("photos"), {"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 1})


def one_object(ran, command: str) -> dict:
    assert ran.code == 0, ran.err
    value = ran.json
    assert (value["version"], value["command"], set(value)) == (1, command, {"version", "command", "result"})
    return value["result"]


# extract ----------------------------------------------------------------------------------------------------


def test_extract_as_text(cli, photos, network):
    (photos / "train" / "cat" / "bad\nname.jpg").write_text("no photo")
    (photos / "train" / "cat" / "notes.txt").touch()
    ran = cli("extract", "photos")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    name = f"photos-{backbone_label(network)}.h5"
    kept = "pool 1280 float32, image:statistics 54 float32"
    assert re.fullmatch(rf"{name}: 12 images, {kept}, \d+\.\d MB, {network.name}", lines[0])
    assert [line.split() for line in lines[1:4]] == [
        ["splits", "train", "8,", "test", "3"],
        ["classes", "2:", "cat,", "dog"],
        ["features", "11", "computed"],
    ]
    assert re.match(r"  time +\d+\.\d s, \d+ images/s \(decode \d+ %, network \d+ %, write \d+ %\)", lines[4])
    assert lines[-3:] == [
        "  left out  1 not an image by its name (.txt)",
        "  unreadable 1 (they have no features):",
        r"    train/cat/bad\nname.jpg: not an image",
    ]
    assert ran.err == f"next: featcache train-head {name}\n", "no progress bar off a terminal"
    assert len(FeatureCache(name).rows_of("train")) == 8


def test_extract_as_json(cli, photos):
    result = one_object(cli("extract", "photos", "--json", "-o", "out.h5"), "extract")
    assert {name: result[name] for name in ("cache", "images", "computed", "reused", "duplicates", "resumed")} == {
        "cache": "out.h5", "images": 11, "computed": 11, "reused": 0, "duplicates": 0, "resumed": 0
    }  # fmt: skip
    assert (result["quarantined"], result["skipped"]) == ({}, {})
    again = one_object(cli("extract", "photos", "--json", "-o", "out.h5"), "extract")
    assert (again["computed"], again["reused"]) == (0, 11)


def test_extract_counts_what_may_be_read_later_apart_from_what_is_damaged(cli, photos):
    (photos / "bad.png").write_text("no photo")
    Path("photos.csv").write_text(
        "path,label\n" + "".join(f"photos/train/{c}/{n}.png,{c}\n" for c in ("cat", "dog") for n in range(4))
        + "photos/bad.png,cat\nphotos/late.png,dog\n"
    )  # fmt: skip
    extract, info = ("extract", "csv:photos.csv", "-o", "out.h5"), ("cache", "info", "out.h5")
    listed = [
        "  unreadable 1 (they have no features):",
        "    photos/bad.png: not an image",
        "  not read  1 for now (they have no features; the same command tries them again):",
        "    photos/late.png: unreadable file",
    ]
    told = [*listed[:3], f"{listed[3]}: No such file or directory"]
    assert cli(*extract).out.splitlines()[-4:] == told
    assert cli(*info).out.splitlines()[-4:] == listed
    again = "  retried   1 that could not be read before: 0 can be read now"
    assert cli(*extract).out.splitlines()[-5:] == [again, *told]
    both = {"photos/bad.png": "not an image", "photos/late.png": "unreadable file"}
    result = one_object(cli(*extract, "--json"), "extract")
    assert [result[key] for key in ("quarantined", "temporary", "retried", "damaged", "reused")] == [
        both, {"photos/late.png": "unreadable file"}, ["photos/late.png"], 0, 8
    ]  # fmt: skip
    assert result["details"] == {"photos/late.png": "No such file or directory"}
    result = one_object(cli(*info, "--json"), "cache info")
    assert (result["quarantined"], list(result["temporary"])) == (both, ["photos/late.png"])
    assert cli("cache", "repair", "out.h5").err == (
        "1 images could not be read when it was made; next: run the featcache extract command that made it, which "
        "tries them again\n"
    )
    (photos / "train/cat/0.png").rename(photos / "late.png")
    (photos / "train/cat/0.png").write_bytes((photos / "train/cat/1.png").read_bytes())
    assert cli(*extract).out.splitlines()[-3:] == [again.replace("0 can", "1 can"), *listed[:2]]
    assert "temporary" not in cli(*info).out


def test_extract_says_what_was_damaged_on_the_disk(cli, photos):
    path = Path(one_object(cli("extract", "photos", "-o", "out.h5", "--json"), "extract")["cache"])
    with FeatureCache(path) as cache:
        content = bytearray(path.read_bytes())
        content[content.index(cache.features([3]).tobytes()) + 9] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    lines = cli("extract", "photos", "-o", "out.h5").out.splitlines()
    assert lines[3].split() == ["features", "1", "computed,", "10", "reused"]
    assert "  damaged   1 rows on the disk, computed again" in lines


def test_extract_quietly_prints_the_result_alone(cli, photos):
    ran = cli("extract", "photos", "-q", "-o", "out.h5")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("out.h5: 11 images")


def test_extract_passes_its_options_on(cli, photos):
    options = [
        "--layer",
        "stem",
        "-l",
        "block1a:max",
        "--dtype",
        "float16",
        "--workers",
        "1",
        "--batch-size",
        "3",
    ]
    result = one_object(cli("extract", "photos", "-o", "new/out.h5", *options, "--json"), "extract")
    with FeatureCache(result["cache"]) as cache:
        assert {name: spec.dtype for name, spec in cache.layers.items()} == {
            "stem:avg": "float16",
            "block1a:max": "float16",
            "image:statistics": "float16",
        }
    result = one_object(
        cli("extract", "photos", "-o", "bare.h5", "--no-image-statistics", "--json"), "extract"
    )
    assert list(FeatureCache(result["cache"]).layers) == ["pool"]


def test_extract_at_another_size(cli, photos):
    asked = ("extract", "photos", "--layer", "stem", "-o", "out.h5", "--image-size")
    assert one_object(cli(*asked, "40x56", "--json"), "extract")["computed"] == 11
    assert FeatureCache("out.h5").recipe["transforms"]["input_size"] == [40, 56]
    refused = cli(*asked, "56x40")
    assert refused.code == 4
    assert "  transforms.input_size: [40, 56] in the cache, [56, 40] asked for\n" in refused.err
    assert one_object(cli(*asked, "56x40", "--overwrite", "--dry-run", "--json"), "extract")["computed"] == 11


def test_a_dry_run_writes_nothing_and_tells_what_would_be_done(cli, photos):
    ran = cli("extract", "photos", "--dry-run", "-o", "out.h5")
    assert ran.code == 0, ran.err
    assert "out.h5 would hold 11 images" in ran.out
    assert "11 computed" in ran.out
    assert one_object(cli("extract", "photos", "--dry-run", "--json"), "extract")["computed"] == 11
    assert list(Path().glob("*.h5")) == []


# train-head, evaluate, predict ------------------------------------------------------------------------------

# The epochs of the shared classifier: the same shapes compile nothing anew.
FAST = ("--epochs", "30")


def test_train_head_as_text(cli, trained, tmp_path):
    ran = cli("train-head", trained.cache, "-o", tmp_path / "head", *FAST)
    assert ran.code == 0, ran.err
    first, *scores = ran.out.splitlines()
    right = r"\d+\.\d % of {} photos right \(95 % interval \d+\.\d–\d+\.\d %\)"
    assert re.fullmatch(re.escape(f"{tmp_path / 'head'}: ") + right.format("12 test"), first)
    assert re.fullmatch("  validation  " + right.format(9), scores[0])
    assert scores[1].startswith(f"  head        linear on {trained.classifier.backbone} pool, 3 classes; ")
    assert re.search(r"; epoch \d+ of \d+, \d+\.\d s$", scores[1])
    assert scores[2] == "  refitted    on all 27 training and validation images"
    # The made-up photos differ in nothing but their colours.
    assert scores[3] == "  colours     alone would get 100.0 % of the validation photos right"
    assert scores[4:] == [
        "  unknown     is never answered: 27 rows are too few to show that 95 % are right; 52 without a mistake "
        "would do",
        "  unlike      is never answered: 9 held-out photos are too few to promise that 99.0 % of photos like them are "
        "recognised; 99 would do",
    ]
    *_, warning, hint, look = ran.err.splitlines()
    assert warning.startswith(
        "warning: the head is right in 100.0 % of the validation rows, and simple statistics"
    )
    folder = tmp_path / "head"
    assert hint == (
        f"next: featcache evaluate {folder}  (class by class), then featcache predict {folder} PHOTO…"
    )
    assert look == f"to see it: featcache report {folder}"
    more = cli("train-head", trained.cache, "-v", "-o", folder, *FAST).out.splitlines()[7:]
    assert re.fullmatch(r"  loss        validation \d\.\d{3}, test \d\.\d{3}", more[0])
    assert re.fullmatch(r"  calibrated  .*calibration error .* on 27 photos that were held out", more[1])
    replaced = cli("train-head", trained.cache, "-o", tmp_path / "head", *FAST)
    assert f"(an earlier classifier in {tmp_path / 'head'} was replaced)" in replaced.err


def test_train_head_as_json(cli, trained, tmp_path):
    result = one_object(
        cli("train-head", trained.cache, "-o", tmp_path / "head", "--json", *FAST), "train-head"
    )
    loaded = Classifier.load(result["classifier"])
    assert result["metrics"] == json.loads(json.dumps(loaded.metrics))
    assert result["metrics"]["test"] == json.loads(json.dumps(trained.classifier.metrics["test"]))
    assert result["training"]["epochs"] == 30
    assert result["training"]["learning_rate"] == 3e-4


@pytest.fixture
def sure(tmp_path) -> Path:
    """A cache of 400 made-up rows: enough to calibrate with."""
    features, labels = blobs(400)
    splits = ["train"] * 160 + ["val"] * 120 + ["test"] * 120
    return feature_cache(tmp_path / "sure.h5", features, labels, splits).path


def _of_100(share):
    return f"{share:.0%}".replace("%", " of 100 photos") if share else "no photo"


@pytest.mark.parametrize(("accepted", "said"), [(81, []), (80, ["93.6 %"])])
def test_where_many_photos_would_be_unknown_it_says_what_lowers_that(accepted, said):
    kept = Rejection(0.936, accepted, 100, accepted / 100, 1.0, 0.96, 0.95)
    first, *more = unknown_lines(Calibration(count=100, rejection=kept))
    assert first == (
        f'  unknown     {100 - accepted} of 100 photos would be answered "unknown"; 100.0 % of the others are right'
    )
    assert more == [
        f"              ({least} is the least confidence that is answered; more photos lower it, or a lower "
        "--reject-accuracy)"
        for least in said
    ]


def test_train_head_says_how_sure_the_head_may_be(cli, sure, tmp_path):
    unsure = ("train-head", sure, "-o", tmp_path / "head", "--head", "ridge")
    lines = cli(*unsure, "--reject-accuracy", "0.8", "-v").out.splitlines()
    calibration = Classifier.load(tmp_path / "head").calibration
    kept = calibration.rejection
    assert lines[4] == (
        f'  unknown     {_of_100(1 - kept.coverage)} would be answered "unknown"; {100 * kept.accuracy:.1f} % of '
        f"{'the others' if kept.coverage < 1 else 'the answers'} are right"
    )
    assert lines[5] == (
        '  unlike      about 1 of 100 photos like these would be answered "unlike anything seen" (measured on 120 '
        "photos that were held out)"
    )
    assert lines[7:] == [
        f"  calibrated  temperature {calibration.temperature:.2f}; calibration error "
        f"{100 * calibration.error_before:.1f} % → {100 * calibration.error_after:.1f} % on 280 photos that were held "
        "out",
        f"  threshold   a confidence of {100 * kept.threshold:.1f} %; of what is above, at least "
        f"{100 * kept.lower:.1f} % is right",
    ]
    assert cli(*unsure, "--reject-accuracy", "0.8").out.splitlines()[3:] == lines[3:6]
    never = cli(*unsure, "--reject-accuracy", "0.99").out.splitlines()[4]
    assert never.startswith(
        "  unknown     is never answered: not even the surest of 280 rows show that 99 % are right"
    )
    result = one_object(cli(*unsure, "--reject-accuracy", "0.8", "--json"), "train-head")
    assert result["calibration"] == json.loads(json.dumps(calibration.to_json()))
    plain = one_object(cli(*unsure, "--no-calibrate", "--json"), "train-head")
    assert (plain["calibration"]["temperature"], plain["calibration"]["note"]) == (1, "it was not asked for")
    assert plain["metrics"]["test"]["accuracy"] == result["metrics"]["test"]["accuracy"]


def test_train_head_warns_of_what_is_probably_a_mistake(cli, tmp_path):
    features, labels = blobs(240)
    shuffled = np.random.default_rng(0).permutation(labels)
    splits = ["train"] * 180 + ["val"] * 60
    cache = feature_cache(tmp_path / "x.h5", features, shuffled, splits).path
    ran = cli("train-head", cache, "-o", tmp_path / "head", "--head", "prototype")
    warning = ran.err.splitlines()[0]
    assert warning.startswith("warning: the 5 nearest neighbours of 180 training rows tell their class in ")
    result = one_object(
        cli("train-head", cache, "-o", tmp_path / "head", "--head", "prototype", "--json"), "train-head"
    )
    (found,) = result["warnings"]
    assert found == {"code": "chance-level", "message": warning.removeprefix("warning: ")}
    assert Classifier.load(tmp_path / "head").training["warnings"] == [found]


def test_train_head_quietly(cli, trained, tmp_path):
    assert cli("train-head", trained.cache, "-q", "-o", tmp_path / "head", *FAST).err == ""


def test_evaluate_as_text(cli, trained):
    ran = cli("evaluate", trained.folder)
    assert (ran.code, ran.err) == (0, f"to see it: featcache report {trained.folder}\n")
    want = trained.classifier.evaluate()
    lines = ran.out.splitlines()
    assert lines[0].startswith(f"test: accuracy {100 * want.accuracy:.1f} % (95 % interval ")
    assert "on 12 images" in lines[0]
    assert (
        lines[1]
        == f"  balanced accuracy {percent(want.balanced_accuracy)}, macro F1 {percent(want.f1_macro)}"
    )
    table = {line.split()[0]: line.split()[1:] for line in lines[3:7]}
    assert table["class"] == ["precision", "recall", "95", "%", "interval", "f1", "images"]
    for score in want.classes:
        assert table[score.name][:4] == f"{percent(score.precision)} {percent(score.recall)}".split()
        assert table[score.name][-1] == "4"
    confusion = [[int(cell) for cell in line.split()[1:]] for line in lines[9:12]]
    np.testing.assert_array_equal(confusion, want.confusion)


def not_sure(trained, threshold: float, folder: Path) -> Path:
    rejection = Rejection(threshold, 5, 9, 5 / 9, 1.0, 0.6, 0.95)
    return replace(trained.classifier, calibration=Calibration(rejection=rejection)).save(folder)


def test_evaluate_tells_what_is_unknown(cli, trained, tmp_path):
    confidence = trained.classifier.probabilities(FeatureCache(trained.cache).arrays("test")[0]).max(axis=1)
    middle = float(np.sort(confidence)[4])
    folder = not_sure(trained, middle, tmp_path / "c")
    result = one_object(cli("evaluate", folder, "--json"), "evaluate")
    assert (result["rejection"]["accepted"], result["rejection"]["coverage"]) == (8, 8 / 12)
    line = cli("evaluate", folder).out.splitlines()[2]
    accuracy = result["rejection"]["accuracy"]
    assert line == (
        f"  not unknown 8 (66.7 %, from a confidence of {100 * middle:.1f} % on), accuracy {100 * accuracy:.1f} % there"
    )
    nothing = cli("evaluate", not_sure(trained, 1.1, tmp_path / "c")).out.splitlines()[2]
    assert nothing == "  not unknown 0 (0.0 %, from a confidence of 110.0 % on)"


def test_predict_says_unknown_and_what_it_would_have_guessed(cli, trained, tmp_path):
    files = sorted((trained.photos / "test").glob("*/*.png"))
    plain = trained.classifier.predict(files)
    middle = float(np.median([p.probabilities[0] for p in plain]))
    folder = not_sure(trained, middle, tmp_path / "c")
    ran = cli("predict", folder, *files)
    for line, file, p in zip(ran.out.splitlines(), files, plain, strict=True):
        guess = f"{p.classes[0]} {100 * p.probabilities[0]:.1f} %"
        unsure = f"unknown (not sure: {guess} or {p.classes[1]} {100 * p.probabilities[1]:.1f} %)"
        assert line == f"{file}  " + (unsure if p.probabilities[0] < middle else guess)
    count = sum(p.probabilities[0] < middle for p in plain)
    counted, told = ran.err.splitlines()
    assert counted.endswith(f", not sure {count}")
    assert told.startswith(
        f"{count} of 12 unknown: their confidence is below the threshold that training chose; train-head with a lower "
        "--reject-accuracy answers more photos, and more of them wrongly"
    )
    result = one_object(cli("predict", folder, *files, "--json"), "predict")
    assert [p["unknown"] for p in result["predictions"]] == [p.probabilities[0] < middle for p in plain]


def test_evaluate_as_json(cli, trained):
    result = one_object(
        cli("evaluate", trained.folder, "--split", "val", "--cache", trained.cache, "--json"), "evaluate"
    )
    assert result == json.loads(json.dumps(trained.classifier.evaluate(trained.cache, "val").to_json()))


def test_predict_as_json_on_a_folder_with_an_unreadable_photo(cli, trained, tmp_path):
    folder = photo_folder(tmp_path / "new", {"train/cat": 1})
    (folder / "text.jpg").write_text("no photo")
    result = one_object(cli("predict", trained.folder, folder, "--json"), "predict")
    bad, good = result["predictions"]
    assert (Path(bad["id"]).name, bad["classes"]) == ("text.jpg", [])
    assert bad["error"].startswith("not an image")
    assert good["classes"][0] == "cat"
    assert sum(good["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_predict_with_a_backbones_own_classes(cli, trained):
    photo = trained.photos / "test" / "cat" / "0.png"
    result = one_object(cli("predict", "--backbone", "efficientnet_lite0", photo, "--json"), "predict")
    [prediction] = result["predictions"]
    assert len(prediction["classes"]) == 5
    assert prediction["probabilities"] == sorted(prediction["probabilities"], reverse=True)
    text = cli("predict", "-b", "efficientnet_lite0", photo, "--top", "1").out.splitlines()
    assert text == [f"{photo}  {prediction['classes'][0]} {100 * prediction['probabilities'][0]:.1f} %"]


def test_predict_passes_the_size_on(cli, trained, monkeypatch):
    sizes = []

    def predictor(*args, **options):
        sizes.append(backbone_predictor(*args, **options).transforms.input_size)
        return SimpleNamespace(stream=lambda images, **options: [], task="classes", classes=("a",))

    monkeypatch.setattr("featcache.classifier.prediction.backbone_predictor", predictor)
    for options in ((), ("--image-size", "40"), ("--image-size", "40x56")):
        assert cli("predict", "-b", "efficientnet_lite0", trained.photos, *options).code == 0
    assert sizes == [(64, 64), (40, 40), (40, 56)]


# doctor, cache ----------------------------------------------------------------------------------------------


def test_doctor_as_text_and_json(cli, tmp_path):
    findings = {f["topic"]: f for f in one_object(cli("doctor", tmp_path, "--json"), "doctor")["findings"]}
    assert findings["jax"]["state"] == findings["python"]["state"] == "ok"
    assert findings["network"] == {"topic": "network", "state": "note", "detail": "FEATCACHE_OFFLINE is set"}
    assert findings["mobilenet_v2.tv_in1k"]["state"] == "note"
    for number in range(20):
        (tmp_path / f"{number}.partial.h5").touch()
    short = cli("doctor", tmp_path).out.splitlines()
    assert len(short) == 15
    assert any("FEATCACHE_OFFLINE is set" in line for line in short)
    assert any(re.search(r"^\S+ +packages +jax \d", line) for line in short)
    assert any(re.search(r"^\S+ +weights +\d+ of \d+ sets are here", line) for line in short)
    assert re.search(r"and more +1\d locks or unfinished caches; -v lists all$", short[-1])
    whole = cli("doctor", tmp_path, "-v").out.splitlines()
    assert len(whole) == len(findings) + 20
    assert any("mobilenet_v2.tv_in1k" in line for line in whole)


def test_cache_commands(cli, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))  # where no other test left anything
    folder = trained.cache.parent
    listed = one_object(cli("cache", "ls", folder, "--json"), "cache ls")["caches"]
    assert [(Path(each["path"]).name, each["images"]) for each in listed] == [("photos.h5", 39)]
    assert "photos.h5" in cli("cache", "ls", folder).out

    about = one_object(cli("cache", "info", trained.cache, "--json"), "cache info")
    assert about["identity"] == FeatureCache(trained.cache).identity
    assert "3: cat, dog, owl" in cli("cache", "info", trained.cache).out

    ran = cli("cache", "verify", trained.cache)
    assert (ran.code, ran.out) == (0, f"{trained.cache}: 39 images, all intact\n")

    exported = one_object(cli("cache", "export", trained.cache, tmp_path / "x.npz", "--json"), "cache export")
    assert Path(exported["path"]).stat().st_size > 0
    assert one_object(cli("cache", "gc", folder, "--json"), "cache gc")["leftovers"] == []


def test_a_removed_cache_is_gone(cli, photos):
    cli("extract", "photos", "-o", "out.h5", "--layer", "stem")
    assert cli("cache", "rm", "out.h5").out == "removed out.h5\n"
    assert not Path("out.h5").exists()


# demo -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_demo_from_end_to_end(cli, tmp_path, network):
    ran = cli("demo", "--output", tmp_path / "demo", "-q")
    assert (ran.code, ran.err) == (0, "")
    for command in ("extract", "train-head", "evaluate", "predict"):
        assert f"$ featcache {command} " in ran.out
    # Even on 64 pixels instead of 224; nine classes, so chance is 0.11. Random weights reach 0.5.
    accuracy = float(re.search(r"^test: accuracy ([\d.]+) %", ran.out, re.MULTILINE)[1]) / 100
    assert accuracy > (0.3 if network.tag == "random" else 0.8)
    assert FeatureCache(tmp_path / "demo" / "textures-efficientnet_lite0.h5").classes[0] == "brick"
    assert len(Classifier.load(tmp_path / "demo" / "classifier").classes) == 9


# Terminals --------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;)[0-9;]*m")


@pytest.mark.parametrize("no_colour", [False, True])
def test_the_progress_bar_respects_no_color(photos, monkeypatch, no_colour):
    from featcache.cli import main

    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    if no_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["extract", "photos", "--layer", "stem"]) == 0
    shown = terminal.getvalue()
    assert "/11" in shown, "the bar counts images"
    assert bool(COLOUR.search(shown)) == (not no_colour)


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", b"64\\xd764"), ("utf-8", "64×64".encode())])
def test_a_terminal_without_unicode_loses_no_result(monkeypatch, trained, encoding, shown):
    from featcache.cli import main

    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    assert main(["cache", "info", str(trained.cache)]) == 0
    assert shown in written.getvalue()


def test_quiet_draws_no_bar_on_a_terminal(photos, monkeypatch):
    from featcache.cli import main

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["extract", "photos", "--layer", "stem", "-q"]) == 0
    assert terminal.getvalue() == ""
