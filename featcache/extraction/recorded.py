"""The extraction that a cache or a classifier records, made ready again: to give further photos the same features."""

from typing import TYPE_CHECKING

from featcache.core.identity import LayerIdentity, differences
from featcache.errors import IdentityError, UnknownNameError
from featcache.extraction.resolved import ResolvedExtraction, resolve
from featcache.extraction.spec import ExtractionSpec
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.images.transforms import Transforms

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone

_MADE_FOR = {"the classifier": "the classifier was trained on", "the cache": "the cache holds"}


def recorded_extraction(
    network: "LoadedBackbone", recorded: LayerIdentity, *, origin: str, hint: str = ""
) -> ResolvedExtraction:
    """Return the extraction of one layer of plain images, whose features are known to be the recorded ones.

    Parameters
    ----------
    network
        The backbone as it is on this machine.
    recorded
        What decides the features.
    origin
        Where they were recorded: ``"the classifier"`` or ``"the cache"``.
    hint
        What to do where they differ.

    Raises
    ------
    IdentityError
        If the backbone gives others, with the differences.
    """
    transforms = Transforms.from_json(dict(recorded.recipe["transforms"]))
    dtypes = {name: recorded.recipe[name] for name in ("compute_dtype", "stored_dtype")}
    recipe = network.recipe(transforms=transforms, **dtypes)
    layer = recorded.layer
    here = LayerIdentity(recipe.to_json(), layer, _weights_to(network, layer), recipe.fingerprint(layer))
    if not recorded.same_as(here):
        lines = "\n  ".join(differences(recorded.recipe, recipe.to_json()))
        told = lines.replace("in the cache", f"in {origin}").replace("asked for", "here")
        raise IdentityError(
            f"the backbone on this machine gives other features than {_MADE_FOR[origin]}:\n  {told}{hint}"
        )
    statistics = layer == STATISTICS
    return resolve(
        ExtractionSpec(
            backbone=network,
            layers=() if statistics else (layer,),
            transforms=transforms,
            dtype=dtypes["stored_dtype"],
            compute_dtype=dtypes["compute_dtype"],
            image_statistics=statistics,
        )
    )


def _weights_to(network: "LoadedBackbone", layer: str) -> str | None:
    try:
        return network.weights_sha256_to(layer)
    except UnknownNameError:  # the network ends before it
        return None
