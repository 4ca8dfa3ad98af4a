"""``featcache backbones`` and ``featcache backbones show``: text, JSON, names, sizes, narrow terminals."""

import io
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from featcache.backbones import catalogue as listing
from featcache.backbones.registry import pretrained_weights, resolve
from featcache.backbones.summary import describe
from featcache.cli import main


def one_object(ran, command: str) -> dict:
    assert ran.code == 0, ran.err
    value = ran.json
    assert (value["version"], value["command"], set(value)) == (1, command, {"version", "command", "result"})
    return value["result"]


# The list ---------------------------------------------------------------------------------------------------


def test_the_list_as_json(cli):
    found = one_object(cli("backbones", "--json"), "backbones")["backbones"]
    assert sorted(f"{each['name']}.{each['tag']}" for each in found) == sorted(pretrained_weights())
    [mobilenet] = [each for each in found if (each["name"], each["tag"]) == ("mobilenet_v2", "tv_in1k")]
    assert mobilenet.pop("how_to_get").startswith("download https://")
    assert mobilenet == {
        "name": "mobilenet_v2",
        "tag": "tv_in1k",
        "default": resolve("mobilenet_v2").tag == "tv_in1k",
        "input_size": [224, 224],
        "features": 1280,
        "params": 3_504_872,
        "macs": 300_774_272,
        "top1": 71.9,
        "licence": "BSD-3-Clause",
        "source": "torchvision IMAGENET1K_V1",
        "installed": False,  # the tests' own home is empty
    }
    defaults = [each["name"] for each in found if each["default"]]
    assert sorted(defaults) == sorted({each["name"] for each in found}), "one default each"


def test_the_list_as_text(cli):
    entries = one_object(cli("backbones", "--json"), "backbones")["backbones"]
    ran = cli("backbones")
    assert ran.code == 0
    assert ran.err == "*: default weights of the architecture; next: featcache backbones show NAME\n"
    header, *rows = ran.out.splitlines()
    assert re.split(r"\s+", header) == [
        "name", "size", "features", "params", "MACs", "top-1", "here", "licence", "source"
    ]  # fmt: skip
    assert [row.split()[0] for row in rows] == [f"{each['name']}.{each['tag']}" for each in entries]
    assert [row.split()[1] == "*" for row in rows] == [each["default"] for each in entries]
    [mobilenet] = [row for row in rows if row.startswith("mobilenet_v2.tv_in1k ")]
    assert re.split(r"\s{2,}", mobilenet)[-8:] == [
        "224", "1280", "3.5 M", "300.8 M", "71.9 %", "no", "BSD-3-Clause", "torchvision IMAGENET1K_V1"
    ]  # fmt: skip
    assert cli("backbones", "-q").err == ""


def test_families_stay_together_small_architectures_first(cli):
    entries = one_object(cli("backbones", "--filter", "vgg*", "--json"), "backbones")["backbones"]
    assert list(dict.fromkeys(each["name"] for each in entries)) == ["vgg11", "vgg13", "vgg16", "vgg19"]
    assert [each["default"] for each in entries if each["name"] == "vgg16"] == [True, False]


@pytest.mark.parametrize(
    ("pattern", "some"),
    [
        ("mobilenet_v2", "mobilenet_v2.tv_in1k"),
        ("mobilenet_v2.tv*", "mobilenet_v2.tv_in1k"),
        ("MOBILENET*", "mobilenet_v2.tv_in1k"),
        ("MobileNetV2", "mobilenet_v2.tv_in1k"),  # Keras' class
        ("mobilenetv2_100", "mobilenet_v2.tv_in1k"),  # timm's name, an alias
        ("tf_efficientnet_lite?", "efficientnet_lite1.tf_in1k"),
        ("tf_efficientnet_lite2.tf_in1k", "efficientnet_lite2.tf_in1k"),
        ("*lite[01]", "efficientnet_lite0.tf_in1k"),
    ],
)
def test_the_filter_knows_names_tags_and_aliases(cli, pattern, some):
    entries = cli("backbones", "--filter", pattern, "--json").result["backbones"]
    names = {f"{each['name']}.{each['tag']}" for each in entries}
    assert some in names
    assert "vgg11.tv_in1k" not in names


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("mobilnet_v2*", r"did you mean 'mobilenet_v2'"),
        ("efficientnet_lite0.tf_in1m", r"did you mean 'efficientnet_lite0\.tf_in1k'"),
        ("zzz", r"known: \w+, \w+, "),
    ],
)
def test_a_filter_that_matches_nothing_names_the_nearest(cli, pattern, hint):
    ran = cli("backbones", "--filter", pattern)
    assert (ran.code, ran.out) == (0, "\n")
    assert re.fullmatch(rf"no backbone matches '{re.escape(pattern)}'; {hint}.*\n", ran.err)
    assert cli("backbones", "--filter", pattern, "--json").result == {"backbones": []}


def test_verbose_tells_how_to_get_what_is_not_here(cli):
    ran = cli("backbones", "--filter", "mobilenet_v2.tv_in1k", "-v", "--json")
    assert (
        "mobilenet_v2.tv_in1k: download https://download.pytorch.org/models/mobilenet_v2-b0353104" in ran.err
    )


def test_options_of_the_list_before_show_are_refused_not_ignored(cli):
    ran = cli("backbones", "--filter", "vgg*", "show", "mobilenet_v2")
    assert (ran.code, ran.out) == (2, "")
    assert (
        "options of the list were given before 'show'; give its own options after it: featcache backbones show NAME"
        in ran.err
    )


# Terminals --------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_terminal(monkeypatch):
    """Return what a command prints on a terminal of some width."""

    def on_terminal(columns: int, *arguments: str) -> list[str]:
        terminal = Terminal()
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "stdout", terminal)
        assert main([*arguments, "-q"]) == 0
        return terminal.getvalue().splitlines()

    return on_terminal


@pytest.fixture
def long_names(monkeypatch):
    """Weights as the list will have to show them: long names, no accuracy, an input that is no square."""
    known = resolve("mobilenet_v2.tv_in1k")
    family = next(f for f in listing.families() if known in f.pretrained)
    weights = [
        replace(known, arch="mobilenet_v1_100", tag="keras_in1k_224", macs=568_740_352),
        replace(known, arch="vit_base_patch16_siglip_224", tag="v2_webli", top1=None, macs=17_000_000_000),
        replace(known, arch="plane", transforms=known.transforms.with_size(64, 128), params=304_000_000),
    ]
    monkeypatch.setattr(listing, "families", lambda: (replace(family, pretrained=tuple(weights)),))
    monkeypatch.setattr(listing, "pretrained_weights", lambda: {w.name: w for w in weights})


@pytest.mark.parametrize(
    ("columns", "last"), [(160, "source"), (110, "licence"), (100, "here"), (60, "here")]
)
def test_the_list_fits_the_terminal_by_leaving_out_its_last_columns(long_names, on_terminal, columns, last):
    header, *rows = on_terminal(columns, "backbones")
    assert header.split()[-1] == last
    assert len(rows) == 3
    assert max(map(len, rows)) <= max(columns, 100), "the first eight columns are always there"
    cells = {row.split()[0]: re.split(r"\s{2,}", row) for row in rows}
    assert cells["mobilenet_v1_100.keras_in1k_224"][1:6] == ["224", "1280", "3.5 M", "568.7 M", "71.9 %"]
    assert cells["vit_base_patch16_siglip_224.v2_webli"][4:6] == ["17.0 G", "–"]
    assert cells["plane.tv_in1k"][1:4] == ["64×128", "1280", "304.0 M"]


def test_a_pipe_gets_every_column_whatever_the_width(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert cli("backbones").out.splitlines()[0].split()[-1] == "source"


def test_show_wraps_its_head_and_clips_its_table(on_terminal):
    wide, narrow = (on_terminal(width, "backbones", "show", "mobilenet_v2.tv_in1k") for width in (200, 60))
    row = "block_1         56×56×24        5,136         432   29.2 M  "
    assert f"{row}expand_relu depthwise_relu project_BN" in wide
    assert f"{row[:-1]}…" in narrow
    [url] = [line for line in narrow if "https://download" in line]
    assert url.split()[-1].endswith("mobilenet_v2-b0353104.pth"), "an address stays whole, to be copied"
    assert " ".join(" ".join(narrow).split()).count("EXIF rotation: apply, transparency over white") == 1


# show -------------------------------------------------------------------------------------------------------


def test_show_as_text(cli):
    ran = cli("backbones", "show", "MobileNetV2.tv_in1k")
    assert ran.code == 0
    assert ran.err == "next: featcache extract DATASET -b mobilenet_v2.tv_in1k -l STAGE\n"
    head, stages = ran.out.split("\n\n")
    title, *named = head.splitlines()
    about = {line[2:14].strip(): line[14:] for line in named}
    assert title == "mobilenet_v2.tv_in1k"
    assert about["family"] == "mobilenet_v2, https://arxiv.org/abs/1801.04381"
    assert about["source"] == "torchvision IMAGENET1K_V1, BSD-3-Clause"
    assert about["weights"].startswith("not here: download https://download.pytorch.org/models/mobilenet_v2-")
    assert about["transforms"] == resolve("mobilenet_v2.tv_in1k").transforms.describe()
    assert about["top-1"] == "71.9 % on ImageNet as published, at 224"
    default, *others = listing.tags_of("mobilenet_v2")
    assert about["tags"] == ", ".join([f"{default} (default)", *others])
    assert "mobilenetv2_100" in about["also named"].split(", ")
    assert about["layer"] == "pool by default, 1280 features"

    header, image, *rows = stages.splitlines()
    assert header.split() == ["stage", "output", "params", "statistics", "MACs", "inside"]
    assert image.split() == ["image", "224×224×3"]
    assert rows[0].split() == ["Conv1_relu", "112×112×32", "928", "64", "10.8", "M"]
    assert rows[2].split()[-3:] == ["expand_relu", "depthwise_relu", "project_BN"]
    assert [re.split(r"\s{2,}", row) for row in rows[-2:]] == [
        ["as far as pool", "1280", "2,223,872", "34,112", "299.5 M"],
        ["in all", "3,504,872", "34,112", "300.8 M"],
    ]
    assert len(rows) - 2 == len(describe("mobilenet_v2.tv_in1k").stages)


def test_show_as_json_is_the_python_api(cli):
    result = one_object(
        cli("backbones", "show", "mobilenet_v2.tv_in1k", "--json", "--image-size", "96x64"), "backbones show"
    )
    [entry] = cli("backbones", "--filter", "mobilenet_v2.tv_in1k", "--json").result["backbones"]
    summary = json.loads(json.dumps(describe("mobilenet_v2.tv_in1k", image_size=(96, 64)).to_json()))
    assert entry.items() <= result.items()
    assert summary.items() <= result.items()
    others = {name: result[name] for name in result.keys() - entry.keys() - summary.keys()}
    assert others.pop("transforms")["input_size"] == result["image_size"] == [96, 64]
    protocol = others.pop("protocol")
    assert (protocol["same"], protocol["words"]) == (True, "torchvision measured with these transforms")
    assert protocol["transforms"] == resolve("mobilenet_v2.tv_in1k").transforms.to_json()
    assert others.pop("aliases") == listing.aliases_of("mobilenet_v2")
    assert others == {
        "family": "mobilenet_v2",
        "paper": "https://arxiv.org/abs/1801.04381",
        "path": None,
        "tags": listing.tags_of("mobilenet_v2"),
        "transforms_text": resolve("mobilenet_v2.tv_in1k").transforms.with_size(96, 64).describe(),
    }


def test_show_verbosely_gives_values_inside_stages_lines_of_their_own(cli):
    rows = [line.split() for line in cli("backbones", "show", "mobilenet_v2.tv_in1k", "-v").out.splitlines()]
    at = rows.index(["block_1_expand_relu", "112×112×96"])
    assert [row[:2] for row in rows[at : at + 4]] == [
        ["block_1_expand_relu", "112×112×96"],
        ["block_1_depthwise_relu", "56×56×96"],
        ["block_1_project_BN", "56×56×24"],
        ["block_1", "56×56×24"],
    ]


def test_show_another_size_than_the_dense_layers_take(cli):
    ran = cli("backbones", "show", "vgg16.keras_in1k", "--image-size", "150")
    assert ran.code == 0
    assert "  layer       pool (block5_pool:avg) by default, 512 features\n" in ran.out
    *_, above, last = ran.out.splitlines()
    assert above.split()[:2] == ["block5_pool", "4×4×512"]
    assert last.split()[:5] == ["as", "far", "as", "pool", "512"]
    reason, hint = ran.err.splitlines()
    assert reason.startswith(
        "the stages after block5_pool are left out: the dense layers of this network need maps"
    )
    assert hint == "next: featcache extract DATASET -b vgg16.keras_in1k --image-size 150 -l STAGE"


def test_show_says_where_the_weights_are(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path))
    file = tmp_path / "weights" / resolve("mobilenet_v2.tv_in1k").file.filename
    file.parent.mkdir()
    file.touch()
    result = cli("backbones", "show", "mobilenet_v2.tv_in1k", "--json").result
    assert (result["path"], result["installed"]) == (str(file), True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("show mobilnet_v2", r"no backbone 'mobilnet_v2'; did you mean 'mobilenet_v2'"),
        ("show mobilenet_v2.v9", r"no weights 'v9' of mobilenet_v2; known: .*tv_in1k"),
        ("show mobilenet_v2 --image-size big", r"image size 'big': expected pixels, as one number \(150\)"),
        (
            "show vgg16.keras_in1k --image-size 8",
            r"vgg16\.keras_in1k at 8×8 pixels: nothing is left of an image",
        ),
        ("show", r"Missing argument 'name'.*\(see featcache backbones show --help\)"),
        ("shwo mobilenet_v2", r"No such command 'shwo'.*\(see featcache backbones --help\)"),
    ],
)
def test_failures_are_one_line_and_the_exit_code_of_usage(cli, arguments, says):
    ran = cli("backbones", *arguments.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert re.search(says, ran.err)


@pytest.mark.parametrize("path", [["backbones"], ["backbones", "show"]])
def test_help_imports_nothing_heavy(path):
    code = (
        f"import sys; from featcache.cli import main; assert main({[*path, '--help']}) == 0\n"
        "sys.exit(' '.join(sorted({'jax', 'flax', 'numpy', 'h5py', 'PIL', 'rich'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    assert "--json" in done.stdout
