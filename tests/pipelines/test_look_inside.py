"""The pipeline that makes all pictures of the articles, on photos of the checkout."""

from importlib.util import find_spec

import pytest
from e11_look_inside import NO_PHOTOS, main
from PIL import Image
from records import read_records

PICTURES = ("confusion", "filters", "heat", "map", "mistakes", "predictions", "reliability")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("jinja2") is None, reason="the extra report is not installed"),
]


def test_every_picture_is_made(tmp_path):
    main(backbone="mobilenet_v1_025", output=tmp_path, small=True)
    folder = tmp_path / "textures"
    made = {path.stem for path in folder.glob("*.png")}
    assert made >= set(PICTURES)
    assert len([stem for stem in made if stem.startswith("activations-")]) == 3
    for path in folder.glob("*.png"):
        with Image.open(path) as picture:
            assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 2, path  # not blank
    assert 2 <= len(list((folder / "photos").iterdir())) <= 10
    assert b"Learning curves" in (folder / "report.html").read_bytes()
    assert list((folder / "figures").glob("*.svg"))
    (record,) = read_records(tmp_path)
    assert record["small"]
    assert record["figures"] == [f"textures/{name}.png" for name in NO_PHOTOS]
    assert all((tmp_path / name).is_file() for name in record["figures"])
