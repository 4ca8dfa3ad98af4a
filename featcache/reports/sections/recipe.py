"""The recipe: network, layer, transforms with a photo before and after, fingerprints, provenance, cost."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.disk.storage import amount
from featcache.core.display import counted
from featcache.errors import FeatcacheError
from featcache.reports.material import Material
from featcache.reports.section import Section
from featcache.reports.sections.cost import cost_of
from featcache.reports.summary import Fact
from featcache.splits.left_out import left_out_text
from featcache.sweeps.entries import setting_name

if TYPE_CHECKING:
    from PIL import Image

    from featcache.cache import FeatureCache
    from featcache.classifier.classifier import Classifier
    from featcache.images.transforms import Transforms

SIDE = 320
"""Longest side of the picture before the transforms."""
TRIED = 20
"""Photos that are tried for the picture, until one can be read."""


@dataclass(frozen=True)
class Picture:
    """A small picture that stands in the page itself.

    Parameters
    ----------
    url
        ``data:image/webp;base64,…``
    width, height
        In pixels, as it is shown.
    caption
        What it is.
    """

    url: str
    width: int
    height: int
    caption: str


def section(material: Material) -> Section | None:
    """Return how the features were made; ``None`` without a cache and a classifier."""
    cache, classifier = material.cache, material.classifier
    if cache is None and classifier is None:
        return None
    recipe = cache.recipe if cache is not None else dict(classifier.recipe) if classifier else {}
    groups = {
        "network": _network(recipe, cache, classifier),
        "photos": _transforms(recipe),
        "cost": _cost(material),
        "identity": _identity(cache, classifier),
        "made": _provenance(cache, classifier),
    }
    before_after = _before_and_after(material, recipe)
    return Section(
        key="recipe",
        title="The recipe",
        headline=_headline(recipe, cache, classifier),
        template="recipe.html",
        content={
            "groups": [
                (_GROUPS[name], groups[name]) for name in ("network", "photos", "cost") if groups[name]
            ],
            "records": [(_GROUPS[name], groups[name]) for name in ("identity", "made") if groups[name]],
            "photo_name": before_after[0] if before_after else "",
            "pictures": before_after[1] if before_after else (),
            "without": "" if before_after else material.moved,
        },
        data={
            "recipe": recipe,
            **{name: {fact.name: fact.value for fact in facts} for name, facts in groups.items()},
            "photo": before_after[0] if before_after else None,
        },
    )


_GROUPS = {
    "network": "Network and head",
    "photos": "What becomes of a photo",
    "cost": "Cost",
    "identity": "Fingerprints",
    "made": "Where and when it was made",
}


def _headline(
    recipe: Mapping[str, Any], cache: "FeatureCache | None", classifier: "Classifier | None"
) -> str:
    backbone = classifier.backbone if classifier is not None else cache.backbone if cache is not None else ""
    size = recipe["transforms"].get("input_size")
    seen = f" sees photos of {'×'.join(map(str, size))} pixels" if size else ""
    if classifier is None:
        layers = [] if cache is None else [f"{name} {_shape(cache, name)}" for name in cache.layers]
        return f"{backbone}{seen}; kept are {', '.join(layers)}"
    return f"{backbone}{seen}; a {classifier.head} head on its layer {classifier.layer}"


# Facts --------------------------------------------------------------------------------------------------------


def _network(
    recipe: Mapping[str, Any], cache: "FeatureCache | None", classifier: "Classifier | None"
) -> list[Fact]:
    facts = []
    if classifier is not None:
        facts += [
            Fact("backbone", classifier.backbone, "The frozen network and its weights."),
            Fact("layer", classifier.layer, "Whose features the head was trained on."),
            Fact("head", classifier.head, "What turns features into answers."),
            Fact("settings", _settings(classifier), "Of the head, as far as they matter to it."),
        ]
        if left_out := left_out_text(classifier.training.get("left_out")):
            facts.append(
                Fact("left out", left_out, "Of training, validation and test, once these were divided.")
            )
        if tuned := classifier.training.get("finetuned"):
            stages = ", ".join(tuned.get("trained_stages", ())) or "none"
            facts.append(Fact("fine-tuned", stages, "Stages of the backbone that were trained too."))
    elif cache is not None:
        facts.append(Fact("backbone", cache.backbone, "The frozen network and its weights."))
    if cache is not None:
        layers = ", ".join(f"{name} {_shape(cache, name)}" for name in cache.layers)
        facts.append(Fact("layers kept", layers, f"Of every photo, in {recipe['stored_dtype']}."))
    facts.append(Fact("computed in", recipe["compute_dtype"], "Number format of the network."))
    return facts


def _settings(classifier: "Classifier") -> str:
    from featcache.sweeps.lines import value_text, varied_settings

    told = varied_settings(classifier.settings)
    shown = (f"{setting_name(name)} {value_text(value)}" for name, value in told.items())
    return ", ".join(shown) or "defaults"


def _shape(cache: "FeatureCache", layer: str) -> str:
    return "×".join(map(str, cache.layers[layer].shape))


def _transforms(recipe: Mapping[str, Any]) -> list[Fact]:
    own = _read_transforms(recipe)
    views = recipe["views"]
    facts = [] if own is None else [Fact("transforms", own.describe(), "In this order, for every photo.")]
    if views["count"] > 1:
        facts.append(
            Fact("views", str(views["count"]), "Of each photo: the plain one, and others drawn at random.")
        )
    return facts


def _cost(material: Material) -> list[Fact]:
    facts = []
    cache, classifier = material.cache, material.classifier
    name = classifier.backbone if classifier is not None else cache.backbone if cache is not None else ""
    path = (
        cache.path if cache is not None else classifier.provenance["cache"] if classifier is not None else ""
    )
    base = classifier.provenance.get("base") if classifier is not None else None
    if known := cost_of(name, path, base):
        size = " × ".join(map(str, known.image_size))
        facts += [
            Fact("parameters", f"{known.parameters / 1e6:.1f} million", "Of the network as it is published."),
            Fact(
                "work", f"{known.macs / 1e6:,.0f} million multiply-adds", f"For one photo of {size} pixels."
            ),
        ]
    if cache is not None:
        each = sum(spec.row_bytes for spec in cache.layers.values())
        facts += [
            Fact("disk", amount(cache.nbytes), f"The cache of {counted(len(cache), 'photo')}."),
            Fact("features", amount(each), "Of one photo, all layers together."),
        ]
    if cache is not None and (cost := cache.extraction_cost) is not None:
        facts.append(
            Fact("extraction", cost.describe(), "Of the whole run: reading photos, the network, writing.")
        )
    if classifier is not None:
        facts += _training_time(classifier)
    if material.sweep is not None and material.sweep.get("seconds") is not None:
        facts.append(
            Fact(
                "sweep",
                f"{material.sweep['seconds']:.1f} s",
                f"For {material.sweep.get('fitted', 0):,} heads, on its last run.",
            )
        )
    rates = [own["images_per_second"] for own in material.history if own.get("images_per_second")]
    if rates:
        facts.append(Fact("fine-tuning", f"{np.median(rates):.0f} images/s", "Median over the epochs."))
    return facts


def _training_time(classifier: "Classifier") -> list[Fact]:
    facts = []
    if (seconds := classifier.training.get("seconds")) is not None:
        facts.append(
            Fact("training", f"{seconds:.1f} s", "Of the head, on features that were there already.")
        )
    tuned = classifier.training.get("finetuned") or {}
    if (seconds := tuned.get("seconds")) is not None:
        facts.append(Fact("fine-tuning", f"{seconds:.0f} s", "The whole run."))
    return facts


def _identity(cache: "FeatureCache | None", classifier: "Classifier | None") -> list[Fact]:
    facts = []
    if classifier is not None:
        facts.append(
            Fact(
                "features",
                classifier.fingerprint,
                "Features with another fingerprint are refused by the head.",
            )
        )
    elif cache is not None:
        facts += [
            Fact(f"layer {name}", spec.fingerprint, "Equal only for features made in the same way.")
            for name, spec in cache.layers.items()
        ]
    recipe = cache.recipe if cache is not None else classifier.recipe if classifier is not None else None
    if recipe is not None:
        facts.append(
            Fact("weights", recipe["backbone"]["weights_sha256"], "sha256 of the network's weights.")
        )
    if cache is not None:
        facts.append(
            Fact("photos", cache.identity["rows"]["sha256"], "sha256 of names, contents, labels and splits.")
        )
    return facts


def _provenance(cache: "FeatureCache | None", classifier: "Classifier | None") -> list[Fact]:
    facts = []
    if cache is not None:
        own, dataset = cache.identity["provenance"], cache.identity["dataset"]
        facts += [
            Fact(
                "dataset",
                dataset["spec"] + (f", {dataset['slice']}" if "slice" in dataset else ""),
                "As it was named.",
            ),
            Fact("splits", _split_rule(dataset["rule"]), "How the photos were divided."),
            Fact("cache", str(cache.path), _when(own)),
        ]
        versions = ", ".join(f"{name} {version}" for name, version in (own.get("versions") or {}).items())
        facts += (
            [Fact("versions", versions, "Of the programs that computed the features.")] if versions else []
        )
    if classifier is not None:
        own = classifier.provenance
        created, version = (
            own.get("created", "at an unknown time"),
            own.get("featcache", "of an unknown version"),
        )
        made = f"Trained {created} by featcache {version}."
        facts.append(Fact("classifier", f"trained on {own['cache']}", made))
    return facts


def _split_rule(rule: Mapping[str, Any] | None) -> str:
    if not rule:
        return "the dataset's own"
    share = rule.get("test_fraction")
    drawn = f", test share {100 * share:g} %" if share is not None else ""
    return f"drawn: {rule.get('rule', 'by an unknown rule')}{drawn}, seed {rule.get('seed', 0)}"


def _when(provenance: Mapping[str, Any]) -> str:
    place = [provenance[name] for name in ("host", "device") if provenance.get(name)]
    return f"Computed {provenance.get('created') or 'at an unknown time'}" + (
        f" on {', '.join(place)}." if place else "."
    )


# One photo before and after ---------------------------------------------------------------------------------


def _before_and_after(
    material: Material, recipe: Mapping[str, Any]
) -> tuple[str, tuple[Picture, Picture]] | None:
    """Return a photo's name, the photo as it is, and as the network gets it; ``None`` without any."""
    transforms = _read_transforms(recipe)
    if material.read is None or material.cache is None or transforms is None:
        return None
    rows = material.cache.rows_of() if material.rows is None else material.rows
    drawn = np.random.default_rng(material.seed).permutation(rows)[:TRIED]
    for row in drawn.tolist():
        name = material.cache.ids[row]
        try:
            return name, pictures_of(material.read(name), transforms)
        except (FeatcacheError, OSError):  # it is gone since, or another one
            continue
    return None


def pictures_of(data: bytes, transforms: "Transforms") -> tuple[Picture, Picture]:
    """Return a photo as it is, and what the network gets of it, channels in its order.

    Parameters
    ----------
    data
        The encoded photo.
    transforms
        Of the recipe.
    """
    from PIL import Image

    from featcache.images.resizing import decode, prepare

    whole = Image.fromarray(decode(data, replace(transforms, exif="apply")))
    size = "×".join(map(str, reversed(whole.size)))
    whole.thumbnail((SIDE, SIDE))
    given = prepare(data, transforms)
    bgr = transforms.channel_order == "bgr"
    seen = Image.fromarray(np.ascontiguousarray(given[..., ::-1] if bgr else given))
    order = ", blue first: red and blue are exchanged, as this network expects" if bgr else ""
    after = "×".join(map(str, given.shape[:2]))
    return (
        _picture(whole, f"The photo, {size} pixels (height × width), upright."),
        _picture(seen, f"What the network gets: {after} pixels{order}."),
    )


def _picture(image: "Image.Image", caption: str) -> Picture:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=85)
    url = f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return Picture(url, image.width, image.height, caption)


def _read_transforms(recipe: Mapping[str, Any]) -> "Transforms | None":
    """Return the transforms of a recipe; ``None`` of a cache of another program that does not say them in full."""
    from featcache.images.transforms import Transforms

    try:
        return Transforms.from_json(dict(recipe["transforms"]))
    except FeatcacheError:
        return None
