"""``featcache export``: what is written, what is said, and what is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.tiny_finetuning import registered, tiny_classifier, tiny_network, tiny_photos
from helpers.web_demo import fake_runtime


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with registered():
        root = tmp_path_factory.mktemp("made")
        classifier = tiny_classifier(tiny_network(), tiny_photos(root / "photos", train=4), head="ridge")
        replace(classifier, known=classifier.known).save(root / "c")
        yield root


@pytest.fixture
def folder(made, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("c").symlink_to(made / "c")
    Path("out").mkdir()
    return tmp_path


def test_a_classifier(cli, folder):
    ran = cli("export", "c", "-o", "out/m.onnx")
    assert ran.code == 0, ran.err
    first, *lines = ran.out.splitlines()
    assert re.fullmatch(r"out/m\.onnx: ONNX, opset 17, \d+\.\d kB", first)
    assert [line.split("  ")[1] for line in lines] == ["model", "takes", "gives", "checked", "beside it"]
    assert "photos that it was trained with, largest differences from JAX: probabilities " in ran.out
    assert lines[-1] == "  beside it  out/preprocessing.json, out/labels.txt"


def test_a_layer_of_it_as_json(cli, folder):
    ran = cli("export", "c", "-o", "out/m.onnx", "--layer", "block_1:avg", "--json")
    told = json.loads(ran.out)["result"]
    assert told["outputs"] == {"features": [None, 6]}
    assert told["written"] == ["out/m.onnx", "out/preprocessing.json"]
    assert told["parity"]["differences"]["features"] < 1e-5


def test_other_photos_and_names_that_do_not_fit(cli, folder, made):
    photo = sorted(made.glob("photos/test/*/*"))[0]
    ran = cli("export", "c", "-o", "out/m.onnx", "--photos", photo, "--photos", photo.parent)
    assert "on 5 photos given, largest" in ran.out, ran.err
    ran = cli("export", "c", "-o", "out/m.txt")
    assert (ran.code, ran.out) == (2, "")
    assert "expected a name that ends in .onnx or .stablehlo" in ran.err
    ran = cli("export", "mobilenet_v9", "-o", "n.onnx")
    assert (ran.code, ran.out) == (3, "")
    assert "nor is there a backbone of that name; did you mean 'mobilenet_v" in ran.err


def test_a_page(cli, folder):
    runtime = fake_runtime(folder / "npm")
    ran = cli("export", "c", "--web", "page", "--runtime", runtime)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("page/model.onnx: ONNX, opset 17, ")
    assert re.search(r"\n  page +page, \d+\.\d kB, for any static server$", ran.out.rstrip())
    assert ran.err.splitlines()[-1].startswith(
        "next: (cd page; python3 -m http.server 8000), then open http://"
    )
    assert not (folder / "model.onnx").exists()
    told = json.loads((folder / "page" / "preprocessing.json").read_text())
    assert (told["model"], told["task"]) == ("model.onnx", "multiclass")
    ran = cli("export", "c", "-o", "out/m.onnx", "--web", "page", "--runtime", runtime, "--json")
    result = json.loads(ran.out)["result"]
    assert (result["path"], result["web"]) == ("out/m.onnx", "page")
    assert {"out/m.onnx", "out/labels.txt", "page/index.html", "page/model.onnx"} <= set(result["written"])
    assert (folder / "page" / "model.onnx").read_bytes() == (folder / "out" / "m.onnx").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--runtime npm", "--runtime is for the page that --web writes"),
        ("-o m.stablehlo --web page", "a page in a browser runs .onnx models, and m.stablehlo is none"),
        ("--web page --layer pool --runtime npm", "this model gives features only"),
        ("--web out/file --runtime npm", "out/file is a file, expected a folder or nothing; name another"),
        ("--web c --runtime npm", "c exists and is no page that featcache has written; name another folder"),
    ],
)  # fmt: skip
def test_pages_that_cannot_be(cli, folder, options, said):
    fake_runtime(folder / "npm")
    (folder / "out" / "file").write_text("text")
    ran = cli("export", "c", *options.split())
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert sorted(path.name for path in folder.iterdir()) == ["c", "npm", "out"]
