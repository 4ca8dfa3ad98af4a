"""Every failure is one clear line on stderr, nothing on stdout, and the right exit code."""

import re
import shutil
from pathlib import Path

import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder, save_photo

from featcache import FeatureCache
from featcache.backbones.registry import resolve
from featcache.backbones.weights.download import locate

pytestmark = pytest.mark.usefixtures("small_backbone")


@pytest.fixture
def place(tmp_path, monkeypatch, trained) -> Path:
    """A working directory with everything that the commands below are run on."""
    monkeypatch.chdir(tmp_path)
    photo_folder(Path("photos"), {"cat": 2, "dog": 2})
    photo_folder(Path("one"), {"cat": 2})
    photo_folder(Path("broken"), {"cat": 2, "dog": 2})
    Path("broken/cat/text.jpg").write_text("no photo")
    Path("empty").mkdir()
    Path("text.jpg").write_text("no photo")
    Path("text.h5").write_text("no cache, but long enough to have had a header" * 100)
    shutil.copytree(trained.folder, "classifier")
    for name in ("good.h5", "truncated.h5", "tampered.h5"):
        shutil.copyfile(trained.cache, name)
        Path(name).chmod(0o644)
    with Path("truncated.h5").open("r+b") as stream:
        stream.truncate(Path("good.h5").stat().st_size - 3000)
    with FeatureCache("good.h5") as cache:
        row = cache.rows_of("train")[3]
        stored = cache.features([row]).tobytes()
    data = bytearray(Path("tampered.h5").read_bytes())
    assert data.count(stored) == 1
    data[data.index(stored) + 100] ^= 1
    Path("tampered.h5").write_bytes(data)
    features, labels = blobs(12)
    feature_cache(Path("other.h5"), features, labels, ["train"] * 6 + ["test"] * 6)
    return tmp_path


FAILURES = {
    "unknown option": ("extract --frobnicate photos", 2, r"No such option: --frobnicate.*featcache extract --help"),
    "unknown command": ("extrat photos", 2, r"No such command 'extrat'.*extract"),
    "missing argument": ("train-head", 2, r"Missing argument 'cache'.*\(see featcache train-head --help\)"),
    "no number": ("train-head good.h5 --epochs many", 2, r"Invalid value for '--epochs'"),
    "unknown backbone": ("extract photos -b mobilnet_v2", 2, r"no backbone .*; did you mean .*'mobilenet_v2'"),
    "unknown tag": ("extract photos -b mobilenet_v2.v9", 2, r"no weights 'v9' of mobilenet_v2; known: tv_in1k"),
    "unknown layer": ("extract photos -l pol", 2, r"no stage 'pol' in this network; did you mean 'pool'"),
    "unknown dtype": ("extract photos --dtype f32", 2, r"no stored dtype 'f32'; did you mean 'float32'\?"),
    "unknown kind": ("extract foldr:photos", 2, r"no source 'foldr'; did you mean 'folder'\?"),
    "no size": ("extract photos --image-size 150x", 2, r"image size '150x': expected pixels, .*\(150x200\), each"),
    "size below 1": ("extract photos --image-size -3", 2, r"image size '-3': expected pixels"),
    "size of a slip": ("extract photos --image-size 1x100000", 2, r"image size '1x100000': .* 1 to 4096; leave it"),
    "output's name": ("extract photos -o out.npz", 2, r"output out\.npz must end in \.h5"),
    "missing folder": ("extract nowhere", 3, r"no dataset folder nowhere; expected ROOT/CLASS/image\.jpg"),
    "a file": ("extract text.jpg", 3, r"text\.jpg is a photo, no dataset of photos; name a folder of class folders"),
    "empty folder": ("extract empty", 3, r"empty holds no images in class folders"),
    "one class": ("extract one", 3, r"one holds one class \(cat\); a classifier needs at least two; expected ROOT/"),
    "strict": ("extract broken --strict", 3, r"cat/text\.jpg: not an image: .*; without --strict"),
    "offline": (
        "extract photos -b mobilenet_v2",
        3,
        r"the weights of mobilenet_v2\.tv_in1k are not on this machine and FEATCACHE_OFFLINE is set\. "
        r"To get them: download https://\S+ on a machine with a network and put it at",
    ),
    "no weights file": ("extract photos --weights w.pth -b mobilenet_v2", 3, r"no weights file w\.pth"),
    "no cache": ("train-head none.h5", 3, r"no cache none\.h5; make one with: featcache extract DATASET"),
    "not a cache": ("train-head text.h5", 4, r"text\.h5 is no featcache cache"),
    "truncated cache": ("train-head truncated.h5", 4, r"truncated\.h5 .*truncated"),
    "tampered cache": ("train-head tampered.h5", 4, r"tampered\.h5: 1 rows of layer pool are damaged"),
    "verify tampered": ("cache verify good.h5 tampered.h5", 4, r"1 of 2 caches are not intact: tampered\.h5"),
    "cache's layer": ("train-head good.h5 --layer pol", 2, r"good\.h5 holds no layer 'pol'; did you mean 'pool'"),
    "optimizer": ("train-head good.h5 --optimizer adan", 2, r"no --optimizer 'adan'; did you mean 'adam'"),
    "learning rate": ("train-head good.h5 --lr 0", 2, r"--learning-rate 0\.0: expected above 0"),
    "not a classifier's place": ("train-head good.h5 -o photos --epochs 30", 2, r"photos exists and is no classifier"),
    "no classifier": ("evaluate empty", 3, r"no classifier in empty \(no classifier\.json\); train one with"),
    "unknown split": ("evaluate classifier --split tset", 2, r"has no split 'tset'; did you mean 'test'"),
    "other features": ("evaluate classifier --cache other.h5", 4, r"other\.h5 holds other features than"),
    "predict without photos": ("predict classifier", 2, r"no images given: featcache predict classifier PHOTO"),
    "predict photos alone": ("predict photos/cat", 2, r"photos/cat is a folder of photos, and the classifier comes"),
    "predict a photo alone": ("predict text.jpg", 2, r"text\.jpg is a photo, .*: featcache predict CLASSIFIER text"),
    "train on photos": ("train-head photos", 3, r"photos is a folder of photos, .*; first: featcache extract photos$"),
    "sweep photos": ("sweep photos", 3, r"photos is a folder of photos, .*; first: featcache extract photos$"),
    "predict nothing": ("predict classifier nowhere.jpg", 3, r"no image nowhere\.jpg"),
    "predict empty": ("predict classifier empty", 3, r"no images in empty"),
    "predict elsewhere": ("predict photos text.jpg", 2, r"photos is a folder of photos, and the classifier"),
    "predict top": ("predict classifier text.jpg --top 0", 2, r"top 0: ask for at least one class"),
    "predict weights": ("predict classifier text.jpg --weights w.pth", 2, r"--weights goes with --backbone"),
    "predict size": ("predict classifier text.jpg --image-size 150", 2, r"--image-size goes with --backbone; a class"),
    "slip of a rate": ("train-head good.h5 --lr 1e30", 2, r"--learning-rate 1e\+30: expected at most 100, and"),
    "slip in a sweep": ("sweep good.h5 --lr 1e-3,1e30", 2, r"--learning-rate 1e\+30: expected at most 100, and"),
    "no folder to examine": ("doctor nowhere", 3, r"no folder nowhere; expected a folder in which to look for caches"),
    "predict no size": ("predict -b efficientnet_lite0 text.jpg --image-size abc", 2, r"image size 'abc': expected"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "says"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_one_line_and_an_exit_code(cli, place, arguments, code, says):
    before = sorted(Path().rglob("*"))
    ran = cli(*arguments.split())
    assert ran.code == code, ran.err
    starts = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert len(starts) == 1, ran.err
    assert ran.err.startswith("error: "), "nothing before it"
    assert re.search(says, ran.err)
    assert "Traceback" not in ran.err
    assert ran.out == "" or arguments.startswith("cache verify"), "stdout carries results"
    left = [p for p in Path().rglob("*") if p not in before and ".partial." not in p.name]
    assert left == [], "nothing is left behind"


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        ("extract nowhere --json", 3, "MissingFileError"),
        ("extract --json --frobnicate photos", 2, "UsageError"),
        ("extract photos --json -b mobilenet_v2", 3, "WeightsError"),
        ("train-head --json tampered.h5", 4, "IntegrityError"),
        ("evaluate classifier --cache other.h5 --json", 4, "IdentityError"),
    ],
)
def test_with_json_a_failure_is_one_object_too(cli, place, arguments, code, kind):
    ran = cli(*arguments.split())
    assert ran.code == code
    assert set(ran.json) == {"version", "command", "error"}
    assert ran.json["error"]["kind"] == kind
    assert f"error: {ran.json['error']['message']}\n" == ran.err


def test_predicting_only_unreadable_photos_names_them_and_fails(cli, place):
    ran = cli("predict", "classifier", "text.jpg")
    assert (ran.code, ran.err) == (3, "error: none of the images could be read\n")
    assert re.fullmatch(r"text\.jpg  cannot be read \(not an image: .*\)\n", ran.out)
    as_json = cli("predict", "classifier", "text.jpg", "--json")
    assert as_json.code == 3
    assert as_json.json["result"]["predictions"][0]["error"].startswith("not an image"), "one object, not two"


def test_predicting_some_unreadable_photos_succeeds(cli, place):
    save_photo(Path("good.png"), "train/cat/good.png")
    ran = cli("predict", "classifier", "text.jpg", "good.png")
    assert (ran.code, ran.err) == (0, "2 photos: cat 1, cannot be read 1\n")
    assert ran.out.startswith("text.jpg  cannot be read")


@pytest.mark.skipif(
    locate(resolve("efficientnet_lite1")) is None,
    reason="needs efficientnet_lite1's weights",
)
def test_a_cache_of_another_backbone_is_refused_with_the_difference(cli, place):
    before = Path("good.h5").read_bytes()
    ran = cli("extract", "photos", "-b", "efficientnet_lite1", "-o", "good.h5")
    assert ran.code == 4
    assert ran.err.startswith("error: good.h5 holds other features than asked for:\n")
    assert "  backbone.arch: efficientnet_lite0 in the cache, efficientnet_lite1 asked for\n" in ran.err
    assert re.search(r"  backbone\.weights_sha256: \w{12}… in the cache, \w{12}… asked for\n", ran.err)
    assert ran.err.count("error: ") == 1
    assert Path("good.h5").read_bytes() == before


def test_an_error_that_nobody_expected(cli, place, monkeypatch):
    def boom(*args, **kwargs):
        raise RuntimeError("boom")

    monkeypatch.setattr("featcache.extraction.extract.extract", boom)
    ran = cli("extract", "photos")
    assert ran.code == 1
    assert (
        ran.err
        == "error: unexpected RuntimeError: boom. Set FEATCACHE_DEBUG=1 to see the traceback, and report it\n"
    )
    monkeypatch.setenv("FEATCACHE_DEBUG", "1")
    with pytest.raises(RuntimeError, match="boom"):
        cli("extract", "photos")


def test_one_command_does_not_speak_for_the_next(cli, place):
    cli("backbones", "--json")
    assert cli("extrat").out == ""
    assert cli("extrat", "--json").json["error"]["kind"] == "UsageError"


def test_names_that_are_no_text_are_printed_escaped(cli, place):
    folder = Path("photos", "cat")
    for name in ("caf\udce9.jpg", "two\nlines.jpg", "\x1b[31mred.jpg"):
        (folder / name).write_text(f"no photo {name!r}")
    ran = cli("extract", "photos", "-o", "photos.h5")
    assert ran.code == 0, ran.err
    shown = [line.strip() for line in ran.out.splitlines() if line.endswith(": not an image")]
    assert sorted(shown) == [
        r"cat/\x1b[31mred.jpg: not an image",
        r"cat/caf\udce9.jpg: not an image",
        r"cat/two\nlines.jpg: not an image",
    ]
    assert "\x1b" not in ran.out
    assert len(cli("extract", "photos", "-o", "photos.h5", "--json").result["quarantined"]) == 3


INTERRUPTED = {
    "extract photos": (
        "extraction.extract.extract",
        r"rows already written are kept: run the same command again to",
    ),
    "demo": (
        "extraction.extract.extract",
        r"features already computed are kept: run the same command again to",
    ),
    "sweep good.h5": (
        "sweeps.sweep.sweep",
        r"heads already fitted are kept: run the same command again to continue",
    ),
    "finetune classifier": (
        "finetuning.finetune.finetune",
        r"the last checkpoint is kept: .*continue with --resume",
    ),
    "train-head good.h5": (
        "classifier.train_head.train_head",
        r"nothing of it is kept: the same command starts from",
    ),
    "predict classifier photos": (
        "classifier.classifier.Classifier.load",
        r"nothing of it is kept: the same command",
    ),
    "cache rm good.h5": (
        "cache.remove",
        r"what is removed already is gone: run the same command again for the rest",
    ),
}


@pytest.mark.parametrize(("arguments", "function", "says"), [(k, *v) for k, v in INTERRUPTED.items()])
def test_an_interruption_says_what_is_kept_of_this_command(
    cli, place, monkeypatch, arguments, function, says
):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"featcache.{function}", interrupted)
    ran = cli(*arguments.split())
    assert (ran.code, ran.out) == (130, "")
    assert re.fullmatch(rf"error: interrupted; {says}.*\n", ran.err), ran.err


def test_a_cache_that_was_made_from_the_photos_is_named(cli, place, trained):
    """Where photos were given in its place; one of other photos is not, whatever it is called."""
    shutil.copytree(trained.photos, trained.photos.name, dirs_exist_ok=True)
    name = trained.photos.name
    shutil.copyfile(trained.cache, f"{name}-efficientnet_lite0.h5")
    Path(f"{name}-other.h5").write_text("no cache")
    ran = cli("train-head", name)
    assert ran.code == 3
    assert ran.err.endswith(f"; {name}-efficientnet_lite0.h5 was made from it: name that\n")
    Path("pho").mkdir()
    shutil.copy("photos/cat/0.png", "pho")
    assert cli("train-head", "pho").err.endswith("; first: featcache extract pho\n")
