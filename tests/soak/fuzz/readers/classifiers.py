"""A classifier's folder, whose checksums are made right, and what is done with a classifier that was loaded."""

import contextlib
import hashlib
import json
import random
import shutil
import struct
from pathlib import Path

import numpy as np
from faults import test_foreign_classifiers as foreign
from helpers.fake_network import FakeNetwork
from helpers.photo_folders import photo_folder

import featcache
from featcache import train_head
from featcache.backbones import load_from_classifier
from featcache.core.classifier_folder import DOCUMENT, TENSORS
from featcache.core.identity import sha256_json
from featcache.errors import FeatcacheError, IntegrityError, WeightsError

from ..mutators import changed_json, packed, unpacked
from ..reader import Reader, Subject

_ARCHIVE = Path(__file__).parents[3] / "data" / "archives" / "before_packages"
_STRANGE = (np.nan, np.inf, -np.inf, 0.0, -1.0, 3e38, 2.0**31)


def _trained(folder: Path) -> Path:
    """Photos, their features, and a classifier of each kind of head."""
    tree = {f"{part}/{name}": 3 for part in ("train", "val", "test") for name in ("cat", "dog")}
    photo_folder(folder / "photos", tree)
    cache = featcache.extract(folder / "photos", backbone=FakeNetwork(), output=folder / "a.h5", workers=1)
    for head in foreign.HEADS:
        train_head(cache.path, head=head, output=folder / head)
    return folder


def _write(folder: Path, data: bytes) -> None:
    document, header, content = unpacked(data, 3)
    tensors = struct.pack("<Q", len(header)) + header + content
    (folder / TENSORS).write_bytes(tensors)
    with contextlib.suppress(ValueError, RecursionError, TypeError):
        value = json.loads(document)
        if isinstance(value, dict):
            value["head_sha256"] = hashlib.sha256(tensors).hexdigest()
            value.pop("document_sha256", None)
            value["document_sha256"] = sha256_json(value)
            document = json.dumps(value).encode()
    (folder / DOCUMENT).write_bytes(document)


def _changed(data: bytes, chance: random.Random) -> bytes:
    document, header, content = unpacked(data, 3)
    how = chance.randrange(4)
    if how < 2:
        document = changed_json(document, chance)
    elif how == 2:
        header = changed_json(header, chance)
    else:
        values = bytearray(content)
        for _ in range(chance.randint(1, 3) if len(values) > 4 else 0):
            at = chance.randrange(len(values) // 4) * 4
            values[at : at + 4] = struct.pack("<f", chance.choice(_STRANGE))
        content = bytes(values)
    return packed(document, header, content)


def _classifier(folder: Path) -> Subject:
    trained = _trained(folder / "trained")
    load_from_classifier.load_recorded = lambda *named, base=None: foreign.KnownNetwork()  # type: ignore[assignment]
    place = folder / "classifier"
    place.mkdir()
    seeds = []
    for document, header, content in foreign.valid_parts(trained).values():
        seeds.append(packed(json.dumps(document).encode(), json.dumps(header).encode(), content))

    def use(data: bytes) -> None:
        _write(place, data)
        with contextlib.suppress(FeatcacheError):
            load_from_classifier.load_folder(place)
        shutil.rmtree(folder / "saved", ignore_errors=True)
        if foreign.use(place, trained) == "refused":
            raise IntegrityError("refused")

    # A head of another shape is another program, which is compiled.
    return Subject(seeds, use, _changed, longest=1 << 17, seconds=15.0, memory=1 << 29)


def _finetuned(folder: Path) -> Subject:
    """A fine-tuned backbone's file: what is changed is its header, which says what network it is of."""
    from featcache.backbones.finetuned import load_finetuned, read_metadata

    place = folder / "backbone.safetensors"
    whole = (_ARCHIVE / "classifiers" / "tuned" / place.name).read_bytes()
    size = int.from_bytes(whole[:8], "little")

    def use(data: bytes) -> None:
        place.write_bytes(struct.pack("<Q", len(data)) + data + whole[8 + size :])
        if (told := read_metadata(place)) is None:
            raise WeightsError("not in featcache's format")
        load_finetuned(place, told, arch="mobilenet_v1_025")

    def mutate(data: bytes, chance: random.Random) -> bytes:
        """Change the JSON texts that are values of the header's metadata, too."""
        try:
            header = json.loads(data)
            told = header["__metadata__"]
            key = chance.choice(sorted(told))
            told[key] = changed_json(told[key].encode(), chance).decode("utf-8", "replace")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return changed_json(data, chance)
        return changed_json(data, chance) if chance.random() < 0.3 else json.dumps(header).encode()

    return Subject([whole[8 : 8 + size]], use, mutate, seconds=30.0, memory=1 << 30, longest=1 << 17)


READERS = (Reader("classifier", _classifier, slow=True), Reader("finetuned", _finetuned, slow=True))
