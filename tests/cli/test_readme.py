"""README's commands, read from the page, run one after another in one folder, on small photos and a small network."""

import glob
import json
import re
import shlex
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.photo_folders import photo_folder, save_photo

from featcache.backbones.registry import resolve
from featcache.backbones.weights.download import locate

COUNT = 20
ROOT = Path(__file__).parents[2]
CLASSES = ("daisy", "rose", "tulip")
NOT_HERE = {
    "featcache extract tfds:": "needs a dataset that TFDS has prepared",
    "featcache export classifier/ --web": "needs onnxruntime-web, which npm fetches; runs in test_web_in_browser.py",
    "featcache demo": "runs in test_processes.py, and in .ci/wheel",
}
SHORTER = {
    "finetune": ("--epochs", "1"),
    "sweep": ("--epochs", "2", "--c", "1", "--l2", "1", "--seeds", "1"),
}
"""Options by which what takes minutes takes seconds."""


def commands(page: str) -> Iterator[list[str]]:
    """Yield the words of each command in the page's shell blocks that is to run here."""
    for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                if words[0] == "featcache" and not " ".join(words[:end]).startswith(tuple(NOT_HERE)):
                    yield words[:end]
                words = words[end + 1 :]


def expanded(words: list[str]) -> list[str]:
    """Return the words with patterns replaced by the files that match, as a shell does."""
    return [
        name
        for word in words
        for name in (sorted(glob.glob(word)) if "*" in word and glob.glob(word) else [word])
    ]


def instances(names: list[str]) -> dict[str, list[dict[str, object]]]:
    """Return annotations in COCO's form: one of each photo."""
    return {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [
            {"id": number, "image_id": number, "category_id": CLASSES.index(name.split("/")[0])}
            for number, name in enumerate(names)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
    }


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """What README's reader has: photos as folders, tables, lists and shards."""
    monkeypatch.chdir(tmp_path)
    names = [f"{name}/{number}.png" for name in CLASSES for number in range(COUNT)]
    photo_folder(Path("photos"), dict.fromkeys(CLASSES, COUNT))
    photo_folder(Path("new-photos"), dict.fromkeys(CLASSES, 4))
    for name in ("a.jpg", "b.jpg", "folder/c.jpg"):
        save_photo(Path(name), "rose/1.png")
    header = "path,file,label,species,garden,smiling,hat,age\n"
    rows = [
        f"photos/{name},photos/{name},{name.split('/')[0]},{name.split('/')[0]},{number % 9},{number % 2},"
        f"{number % 3 // 2},{number}.5\n"
        for number, name in enumerate(names)
    ]
    Path("photos.csv").write_text(header + "".join(rows))
    photo_folder(Path("food-101/images"), dict.fromkeys(CLASSES, 4))
    Path("food-101/meta").mkdir()
    for part, numbers in (("train", (0, 1, 2)), ("test", (3,))):
        Path(f"food-101/meta/{part}.txt").write_text(
            "".join(f"{c}/{n}.png\n" for c in CLASSES for n in numbers)
        )
    Path("pets").mkdir()
    for name in names:
        save_photo(Path("pets/images", name.replace("/", "_").replace("png", "jpg")), name)
    Path("instances.json").write_text(json.dumps(instances(names)))
    photo_folder(Path("images"), dict.fromkeys(CLASSES, COUNT))
    for shard in range(10):
        Path("label.cls").write_text(CLASSES[shard % 3])
        with tarfile.open(f"shards-{shard:03}.tar", "w") as archive:
            for name in names[shard::10]:
                key = name.replace("/", "-").removesuffix(".png")
                archive.add(f"photos/{name}", f"{key}.png")
                Path("label.cls").write_text(name.split("/")[0])
                archive.add("label.cls", f"{key}.cls")
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::featcache.errors.FeatcacheWarning")
@pytest.mark.skipif(
    locate(resolve("efficientnet_lite0")) is None, reason="the names of caches are those of published weights"
)
def test_commands_of_the_readme_run_one_after_another(folder, cli, small_backbone):
    page = (ROOT / "README.md").read_text()
    ran = []
    for _, *words in commands(page):
        words = expanded([*words, *SHORTER.get(words[0], ())])
        done = cli(*words)
        assert done.code == 0, f"featcache {shlex.join(words)}\n{done.err}"
        ran.append(words[0])
    assert len(ran) > 25
    assert {"extract", "train-head", "evaluate", "predict", "sweep", "finetune", "cache", "doctor"} <= set(
        ran
    )
    first_python = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    exec(compile(first_python, "README.md", "exec"), {})


def test_commands_are_found_in_the_page():
    page = (
        "```bash\npip install x && featcache doctor   # one\nfeatcache extract 'a #b'\n```\n`featcache no`\n"
    )
    assert list(commands(page)) == [["featcache", "doctor"], ["featcache", "extract", "a #b"]]
