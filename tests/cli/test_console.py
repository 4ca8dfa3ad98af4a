"""What a terminal would obey is never printed: not of names in data, in arguments, in errors or in warnings."""

import os
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import feature_caches
from helpers.photo_folders import photo_folder, save_photo

import featcache
from featcache import Transforms
from featcache.cli.console import Console, escaped, escaped_lines

EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202edetrevni\u2066\u200f"
"""A window's title, a cleared screen, an overwritten line, a colour in one byte, and text turned around."""


def obeyed(text: str) -> list[str]:
    """The characters that a terminal does not draw: controls (Cc) and formatting (Cf), by Unicode's own table."""
    return [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def test_nothing_that_is_not_drawn_is_left_of_what_unicode_has_of_it():
    every = "".join(map(chr, [*range(0x3000), *range(0xD700, 0x10000), *range(0xE0000, 0xE0200)]))
    assert obeyed(escaped(every)) == []
    assert "\n" not in escaped(every)
    assert escaped("Füchse – 狐 × 3") == "Füchse – 狐 × 3"
    assert escaped(escaped(EVIL)) == escaped(EVIL), "escaping twice changes nothing"


def test_breaks_of_a_message_stay_and_what_follows_them_is_indented():
    assert escaped_lines("differs:\n  a\nor b\n\nc") == "differs:\n  a\n  or b\n\n  c"
    assert escaped_lines("photo 'x\nerror: disk deleted'") == "photo 'x\n  error: disk deleted'"


@pytest.mark.parametrize("say", ["note", "detail", "fail", "result"])
def test_every_way_to_print_escapes(capsys, say):
    console = Console(verbose=True)
    if say == "fail":
        console.fail("DataError", f"no class {EVIL}")
    elif say == "result":
        console.result({}, [f"class {EVIL}"])
    else:
        getattr(console, say)(f"warning: class {EVIL}")
    ran = capsys.readouterr()
    assert obeyed(ran.out + ran.err) == []
    assert r"\x1b]0;owned\x07" in ran.out + ran.err


def test_nothing_else_prints():
    """All of the package goes through the console; help and the version hold no names of users' data.

    The process that keeps a Ray tells another one its address, through a pipe.
    """
    package = Path(featcache.__file__).parent
    prints = re.compile(r"\bprint\(|\btyper\.echo\(|\bstd(?:out|err)\.write\(")
    found = {
        path.relative_to(package).as_posix(): prints.findall(path.read_text("utf-8"))
        for path in package.rglob("*.py")
        if path.name != "console.py"
    }
    assert {name: calls for name, calls in found.items() if calls} == {
        "cli/app.py": ["typer.echo("],
        "extraction/cluster/local_ray.py": ["print("],
    }


def test_names_in_data_and_arguments_do_not_reach_a_terminal(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        photo_folder(Path("photos"), {f"{split}/cat{EVIL}": 2, f"{split}/dog": 2})
    save_photo(Path(f"photos/train/dog/{EVIL}.png"), "train/dog/0.png")  # a copy, whose name is told
    Path(f"photos/test/dog/{EVIL}.jpg").write_text("no photo")
    os.symlink("photos", f"more{EVIL}")
    transforms = Transforms(
        input_size=(224, 224),
        crop_mode="center",
        interpolation="bilinear",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    ).to_json()
    monkeypatch.setattr(feature_caches, "RECIPE", replace(feature_caches.RECIPE, transforms=transforms))
    features, labels = np.zeros((4, 3), np.float32), [0, 1, 0, 1]
    feature_caches.feature_cache(
        Path("a.h5"), features, labels, ["train", "test"] * 2, classes=(f"cat{EVIL}", "dog")
    ).close()
    commands = [
        ("data", "check", "photos"),
        ("data", "check", f"more{EVIL}"),
        ("cache", "info", "a.h5"),
        ("cache", "ls", "."),
        ("doctor", "."),
        ("train-head", "a.h5", "--slice", EVIL),
        ("train-head", "a.h5", "--lr", EVIL),
        ("extract", EVIL),
        ("extract", f"folder:{EVIL}", f"--{EVIL}"),
        (EVIL,),
        ("extract", f"csv:{EVIL}.csv?{EVIL}=1"),
        ("data", "check", f"hf:{EVIL}"),
        ("sweep", "a.h5", "--config", EVIL),
    ]
    for command in commands:
        ran = cli(*command)
        assert obeyed(ran.out + ran.err) == [], command
        assert "owned" not in ran.err or r"\x1b]0;owned" in ran.err, command
    assert r"\x1b]0;owned" in cli("cache", "info", "a.h5").out
