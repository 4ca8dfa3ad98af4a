"""The pipeline that makes all pictures of the articles, on made-up shapes."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

PIPELINES = Path(__file__).parents[2] / "pipelines"
PICTURES = ("confusion", "filters", "heat", "map", "mistakes", "predictions", "reliability")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("jinja2") is None, reason="the extra report is not installed"),
]


def test_every_picture_is_made_of_two_datasets(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(PIPELINES)
    main = import_module("e11_look_inside").main
    main(flowers="", cats="", backbone="mobilenet_v1_025", output=tmp_path, small=True)
    for name in ("flowers", "cats"):
        folder = tmp_path / name
        made = {path.stem for path in folder.glob("*.png")}
        assert made >= set(PICTURES)
        assert len([stem for stem in made if stem.startswith("activations-")]) == 3
        for path in folder.glob("*.png"):
            with Image.open(path) as picture:
                assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 2, path  # not blank
        assert 2 <= len(list((folder / "photos").iterdir())) <= 10
        assert b"Learning curves" in (folder / "report.html").read_bytes()
        assert list((folder / "figures").glob("*.svg"))
