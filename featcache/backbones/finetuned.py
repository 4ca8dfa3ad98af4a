"""Backbones with fine-tuned weights, and featcache's own file format for them.

The file is a plain ``.safetensors`` with our names of the tensors, float32. Its metadata describe the
network: the published weights that fine-tuning began from (`base`), which name the architecture, its configuration,
the last stage that was kept, and the transforms. The same network gives the same bytes.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from flax import nnx

from featcache.backbones.chain import Backbone, variables
from featcache.backbones.family import Pretrained
from featcache.backbones.input_size import read_size
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.registry import TUNED, family_of, pretrained_weights
from featcache.backbones.weights.key_mapping import KeyTable, convert
from featcache.backbones.weights.loading import fill_state, shapes_of
from featcache.backbones.weights.readers import MAX_HEADER, check_finite, read_safetensors, read_tensors
from featcache.backbones.weights.torch_pickle import MalformedError, shorten
from featcache.core.disk.files import replace_file
from featcache.core.disk.storage import storage_errors
from featcache.core.identity import canonical_json, differences, sha256_tensors
from featcache.errors import UsageError, WeightsError
from featcache.images.transforms import Transforms

FORMAT = "featcache-backbone"
FORMAT_VERSION = 1
MOST_CLASSES = 1_000_000
"""Upper limit of the outputs that a file may declare, so that it cannot ask for an array of any size."""

_OWN_NAMES = KeyTable(modules=((r"(.+)", "{0}"),), leaf=lambda name, tensor: (name, tensor))


# Networks with other weights --------------------------------------------------------------------------------


def with_tensors(network: LoadedBackbone, tensors: Mapping[str, Any], *, tag: str = TUNED) -> LoadedBackbone:
    """Return the same network with some of its weights replaced.

    Parameters
    ----------
    network
        It stays as it is.
    tensors
        Names of `LoadedBackbone.tensors` to arrays of the same shapes; they are copied, as float32.
    tag
        Of the new network's name.

    Raises
    ------
    WeightsError
        With all names that the network does not have and all wrong shapes.
    """
    given = {name: np.array(value, np.float32) for name, value in tensors.items()}
    shapes = {name: value.shape for name, value in network.tensors.items()}
    whole = convert({**network.tensors, **given}, _OWN_NAMES, shapes, origin=f"what replaces {network.name}")
    return replace(network, tensors=whole, state=fill_state(network.state, given), tag=tag, weights_path=None)


def truncate_after(network: LoadedBackbone, through: str) -> LoadedBackbone:
    """Return the network without the stages behind `through`.

    Its features stay the same, but not their fingerprints, which depend on all weights.

    Parameters
    ----------
    network
        It stays as it is.
    through
        A stage, a point inside one, or an alias; the whole stage is kept.

    Raises
    ------
    UnknownNameError
        If there is no such stage.
    """
    chain = network.network
    kept = _as_far_as(nnx.merge(network.graphdef, network.state), chain.stage_of(chain.resolve(through)))
    if kept.order == chain.order:
        return network
    graphdef, state = nnx.split(kept)
    tensors = {name: network.tensors[name] for name in variables(state)}
    return replace(network, graphdef=graphdef, state=state, tensors=tensors)


def _as_far_as(chain: Backbone, stage: str) -> Backbone:
    later = chain.order[chain.order.index(stage) + 1 :]
    return chain.without(later) if later else chain


# Writing ----------------------------------------------------------------------------------------------------


def save_finetuned(
    path: str | os.PathLike[str], network: LoadedBackbone, *, through: str | None = None
) -> str:
    """Write a network's weights to a file in featcache's format; an existing file is replaced atomically.

    Parameters
    ----------
    path
        Ends in ``.safetensors``, by custom.
    network
        Its architecture must be one that featcache knows.
    through
        The last stage to keep, as for `truncate_after`: stages behind those that were trained, such as the original
        classifier, are no longer meaningful. ``None`` to keep all.

    Returns
    -------
    str
        `LoadedBackbone.weights_sha256` of the network that loading the file gives.

    Raises
    ------
    WeightsError
        If a weight is NaN or infinite, or the network is none that could be loaded again.
    StorageError
        If the file cannot be written.
    """
    path = Path(path)
    kept = network if through is None else truncate_after(network, through)
    pieces = pack(kept)
    needs = sum(4 * tensor.size for tensor in kept.tensors.values())
    with storage_errors(path, "write the backbone to", elsewhere="name another file", needs=needs):
        replace_file(path, lambda stream: stream.writelines(pieces))
    return kept.weights_sha256


def pack(network: LoadedBackbone) -> Iterator[bytes | memoryview]:
    """Return the bytes that `save_finetuned` writes, in pieces, after checking that they can be loaded again.

    Raises
    ------
    WeightsError
        If a weight is NaN or infinite, or the network is none that could be loaded again.
    """
    check_finite(network.tensors, network.name)
    return _pieces(_metadata(network), network.tensors)


def _metadata(network: LoadedBackbone) -> dict[str, str]:
    """Return the file's metadata; raises `WeightsError` if the network could not be loaded again from them."""
    about = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "base": network.pretrained.name,
        "config": canonical_json(asdict(network.pretrained.config)).decode(),
        "through": network.network.order[-1],
        "transforms": canonical_json(network.transforms.to_json()).decode(),
    }
    chain = _Described(network.name, about).chain()
    convert(network.tensors, _OWN_NAMES, shapes_of(nnx.state(chain)), origin=network.name)
    return about


def _pieces(about: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> Iterator[bytes | memoryview]:
    # Written here, because safetensors' own writer puts the metadata in another order each time.
    header: dict[str, Any] = {"__metadata__": dict(about)}
    end = 0
    for name, tensor in sorted(tensors.items()):
        start, end = end, end + tensor.size * 4
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = canonical_json(header)
    text += b" " * (-len(text) % 8)  # numbers begin at a multiple of 8
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in sorted(tensors.items()):
        yield np.ascontiguousarray(tensor, "<f4").reshape(-1).view(np.uint8).data


# Reading ----------------------------------------------------------------------------------------------------


def read_metadata(path: Path) -> dict[str, str] | None:
    """Return the metadata of a file in featcache's format; ``None`` for any other file, readable or not."""
    try:
        with path.open("rb") as stream:
            if int.from_bytes(stream.read(8), "little") > MAX_HEADER:  # what reads the weights says so
                return None
        with safetensors.safe_open(str(path), framework="numpy") as file:
            about = file.metadata()
    except (OSError, safetensors.SafetensorError):
        return None
    return about if about and about.get("format") == FORMAT else None


def load_finetuned(path: Path, about: Mapping[str, str], *, arch: str) -> LoadedBackbone:
    """Load a file in featcache's format.

    Parameters
    ----------
    path, about
        The file, and its metadata from `read_metadata`.
    arch
        The architecture that it must be of.

    Raises
    ------
    WeightsError
        If it is damaged, or of another architecture, or of a network that this featcache does not have.
    """
    said = _Described(str(path), about)
    if said.base.arch != arch:
        raise WeightsError(
            f"{path} holds the weights of a fine-tuned {said.base.arch}, not of {arch}; name it as the backbone: "
            f"{said.base.arch}"
        )
    pretrained = said.pretrained()
    graphdef, state = nnx.split(said.chain())
    given = read_tensors(path)
    if other := [f"{shorten(name)} is {value.dtype}" for name, value in given.items() if value.dtype != "f4"]:
        raise said.damaged(f"{other[0]}, expected float32")
    tensors = convert(given, _OWN_NAMES, shapes_of(state), origin=str(path))
    state = fill_state(state, tensors)
    return LoadedBackbone(
        family_of(pretrained), pretrained, TUNED, graphdef, state, tensors, str(path.absolute())
    )


def checked_bytes(path: Path, weights_sha256: str) -> bytes:
    """Return the bytes of a file in featcache's format after verifying its weights, for a copy.

    Raises
    ------
    WeightsError
        If it cannot be read, or its weights are not those expected.
    """
    try:
        data = path.read_bytes()
        found = sha256_tensors(read_safetensors(data).items())
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); put the file back") from error
    except MalformedError as error:
        raise WeightsError(f"{path}: {error}") from error
    if found != weights_sha256:
        raise WeightsError(
            f"the weights in {path} are not those expected: their sha256 is {found[:12]}…, expected "
            f"{weights_sha256[:12]}…; the file was replaced: put the right one back"
        )
    return data


@dataclass(frozen=True)
class _Described:
    """The network that a file's metadata describe; every value is checked before use.

    Parameters
    ----------
    origin
        The file's name for messages.
    about
        Its metadata.
    """

    origin: str
    about: Mapping[str, str]

    @property
    def base(self) -> Pretrained:
        """The published weights that fine-tuning began from."""
        version, name = self.about.get("format_version", ""), self.about.get("base", "")
        if version != str(FORMAT_VERSION):
            raise WeightsError(
                f"{self.origin} has format version {shorten(version)}, this featcache reads {FORMAT_VERSION}: "
                "upgrade featcache"
            )
        if name not in pretrained_weights():
            raise WeightsError(
                f"{self.origin} began from {shorten(name)}, which this featcache does not know: upgrade featcache, "
                "or fine-tune a backbone that it lists (featcache backbones)"
            )
        return pretrained_weights()[name]

    def pretrained(self) -> Pretrained:
        """`base` with this network's own transforms and number of classes."""
        try:
            transforms = Transforms.from_json(self._json("transforms"))
            read_size(transforms.input_size)
        except (UsageError, ArithmeticError) as error:
            raise self.damaged(f"its transforms cannot be ({_plain(str(error), 200)})") from error
        return replace(self.base, config=self._config(), transforms=transforms)

    def _config(self) -> Any:
        """The configuration of `base`, from which only the number of classes may differ."""
        given, base = self._json("config"), self.base
        known, classes = json.loads(canonical_json(asdict(base.config))), given.get("classes")
        if type(classes) is int and 0 <= classes <= MOST_CLASSES:
            known |= {"classes": classes}
        if lines := differences(given, known):
            text = "; ".join(lines).replace("in the cache", "in the file").replace("asked for", "here")
            raise WeightsError(
                f"{self.origin} is of another network than {base.name} is in this featcache: {_plain(text, 400)}; "
                "use the featcache that wrote it, or fine-tune again"
            )
        return replace(base.config, classes=classes)

    def chain(self) -> Backbone:
        """The network without parameters, up to its last stage."""
        pretrained, through = self.pretrained(), self.about.get("through", "")
        chain = family_of(pretrained).abstract(pretrained.config)
        if through not in chain.order:
            raise self.damaged(f"its last stage is {shorten(through)}, which {pretrained.arch} does not have")
        return _as_far_as(chain, through)

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads(self.about.get(name, ""))
            canonical_json(value)  # neither NaN nor infinite
        except (ValueError, RecursionError) as error:
            raise self.damaged(f"its {name} is no JSON") from error
        if not isinstance(value, dict):
            raise self.damaged(f"its {name} is {shorten(value)}, expected a JSON object")
        return value

    def damaged(self, what: str) -> WeightsError:
        """Return the error that says what is wrong with the file."""
        return WeightsError(
            f"{self.origin} is damaged as the weights of a fine-tuned backbone: {what}; fine-tune again"
        )


def _plain(text: str, limit: int) -> str:
    """Return a printable, shortened form of text from a file."""
    text = repr(text)[1:-1]
    return text if len(text) <= limit else text[: limit - 1] + "…"
