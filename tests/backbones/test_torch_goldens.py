"""What torchvision and timm compute today is what the goldens hold; needs torch, which nothing else does.

``pip install torch torchvision timm && pytest -m torch``
"""

import json

import pytest
from helpers import torch_reference


@pytest.mark.torch
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(torch_reference.cases()))
def test_golden_is_what_torch_computes(name):
    pytest.importorskip("timm")
    kept = json.loads((torch_reference.FOLDER / f"{name}.json").read_text("utf-8"))
    made = torch_reference.golden(torch_reference.cases()[name])
    torch_reference.compare(name, kept, made)


def test_every_golden_has_its_case():
    kept = {path.stem for path in torch_reference.FOLDER.glob("*.json")}
    assert kept == set(torch_reference.cases())
