"""``featcache extract``: run a backbone over a dataset and write a cache."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli.arguments.options import with_options
from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.cli.signals import stop_gently
from featcache.core.progress import shares
from featcache.core.tasks import UNLABELLED

if TYPE_CHECKING:
    from featcache.extraction.dry_run import PlanReport
    from featcache.extraction.result import Extraction

NAME = "extract"
_NO_LABELS = "for predictions, similarity search and clustering"
DATASET = (
    "A folder of class folders, with or without train/ and test/ above them; or csv:TABLE, coco:JSON, lists:PATH, "
    "tfds:NAME, tar:SHARDS, hf:PATH."
)
LabelFrom = Annotated[
    str | None,
    typer.Option(
        help="How names of files tell labels: a template, '{label}_{}.jpg', or a regular expression with a group.",
        rich_help_panel="Data",
    ),
]

Splits = Annotated[
    str | None,
    typer.Option(
        help="Which folders are splits, as train=training_set,test=test_set; or none.", rich_help_panel="Data"
    ),
]
ClassesAt = Annotated[
    int | None,
    typer.Option(
        help="Level of the class folders: 1 for those in the dataset's own.", rich_help_panel="Data"
    ),
]
Unlabelled = Annotated[
    bool,
    typer.Option("--unlabelled", help="Take images without labels, from any folder.", rich_help_panel="Data"),
]
AllowEmptyClasses = Annotated[
    bool,
    typer.Option(
        "--allow-empty-classes",
        help="Go on without classes of which no picture is read.",
        rich_help_panel="Data",
    ),
]

Engine = Annotated[
    str,
    typer.Option(
        help="What runs the network: jax; onnxruntime, faster on CPUs; auto.", rich_help_panel="Backbone"
    ),
]


@with_options(
    common=("backbone", "layer", "views", "split", "output", "workers", "dry_run", "overwrite"),
)
def command(
    dataset: Annotated[str, typer.Argument(help=DATASET)],
    backbone: Annotated[
        str, typer.Option("--backbone", "-b", help="Network, as ARCH or ARCH.TAG.")
    ] = "efficientnet_lite0",
    layer: Annotated[
        list[str] | None, typer.Option("--layer", "-l", help="Layer to store, as STAGE or STAGE:POOLING.")
    ] = None,
    image_statistics: Annotated[
        bool,
        typer.Option(help="Store colour statistics, for a warning if they suffice.", rich_help_panel="Data"),
    ] = True,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Cache file [default: NAME-BACKBONE.h5, and what differs]; s3://… and gs://… are uploaded to.",
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights file to use, or 'random'.", rich_help_panel="Backbone")
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            help="Pixels, as SIZE or HEIGHTxWIDTH [default: what belongs to the weights].",
            rich_help_panel="Backbone",
        ),
    ] = None,
    transforms: Annotated[
        str | None,
        typer.Option(
            help="published, center:CROP_PCT or squash:CROP_PCT [default: what belongs to the weights].",
            rich_help_panel="Backbone",
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Stored dtype: float32 or float16.", rich_help_panel="Output")
    ] = "float32",
    compute_dtype: Annotated[
        str, typer.Option(help="Computation dtype: float32 or bfloat16.", rich_help_panel="Backbone")
    ] = "float32",
    views: Annotated[int, typer.Option(help="Views of each image: 1 is the plain one, more are drawn.")] = 1,
    augment: Annotated[
        str,
        typer.Option(
            help="Augmentation of drawn views: flip, random-resized-crop, random-square-crop, colour.",
            rich_help_panel="Views",
        ),
    ] = "flip,random-resized-crop",
    view_seed: Annotated[int, typer.Option(help="Seed of the drawn views.", rich_help_panel="Views")] = 0,
    rgb: Annotated[
        str | None,
        typer.Option(
            help="Rule for other pictures than RGB: white, drop, or range=0:4095 of 16-bit grey.",
            rich_help_panel="Backbone",
        ),
    ] = None,
    unlabelled: Unlabelled = False,
    allow_empty_classes: AllowEmptyClasses = False,
    test_fraction: Annotated[
        float, typer.Option(help="Test share of a dataset without splits.", rich_help_panel="Data")
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of the drawn test split.", rich_help_panel="Data")] = 0,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where TFDS's datasets are prepared.", rich_help_panel="Data")
    ] = None,
    label_from: LabelFrom = None,
    splits: Splits = None,
    classes_at: ClassesAt = None,
    split: Annotated[
        str | None,
        typer.Option(help="Only a split or slice, as train[:10%] or [:100].", rich_help_panel="Data"),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="Only part i of n, as i/n.", rich_help_panel="Data")
    ] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(help="Finished cache to copy rows from; may be repeated.", rich_help_panel="Reuse"),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Read and hash every image again, even if its file is unchanged.",
            rich_help_panel="Reuse",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done without writing.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on the first unreadable image.", rich_help_panel="Data")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace a cache of another recipe or dataset.", rich_help_panel="Output"
        ),
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(help="Images per call [default: by platform].", rich_help_panel="Backbone")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Decoding threads [default: one per core].", rich_help_panel="Data")
    ] = None,
    engine: Engine = "auto",
    cluster: Annotated[
        str | None,
        typer.Option(help="Compute on several processes or machines: ray.", rich_help_panel="Cluster"),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Of a Ray cluster, as auto [default: RAY_ADDRESS, or Ray started here].",
            rich_help_panel="Cluster",
        ),
    ] = None,
    actors: Annotated[
        int | None,
        typer.Option(help="Processes that compute [default: as many as fit].", rich_help_panel="Cluster"),
    ] = None,
    gpus_per_actor: Annotated[
        float | None,
        typer.Option(help="GPUs, or share of one [default: 1 if there are any].", rich_help_panel="Cluster"),
    ] = None,
    cpus_per_actor: Annotated[
        int | None,
        typer.Option(help="Processors [default: up to 4, or those of the GPU].", rich_help_panel="Cluster"),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run a frozen backbone once over a dataset and keep its features.

    It can be stopped at any time; the same command continues it.
    """
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    arguments: dict[str, Any] = {
        "backbone": backbone,
        "layers": layer or ("pool",),
        "image_statistics": image_statistics,
        "output": output,
        "weights": weights,
        "image_size": image_size,
        "rgb": rgb,
        "transforms": transforms,
        "dtype": dtype,
        "compute_dtype": compute_dtype,
        "views": views,
        "augment": augment,
        "view_seed": view_seed,
        "test_fraction": test_fraction,
        "seed": seed,
        "data_dir": data_dir,
        "label_from": label_from,
        "splits": splits,
        "classes_at": classes_at,
        "unlabelled": unlabelled,
        "allow_empty_classes": allow_empty_classes,
        "split": split,
        "shard": shard,
        "reuse": reuse or (),
        "verify": verify,
        "overwrite": overwrite,
        "batch_size": batch_size,
        "workers": workers,
        "engine": engine,
    }
    driven: dict[str, Any] = {
        "cluster": cluster,
        "address": address,
        "actors": actors,
        "gpus_per_actor": gpus_per_actor,
        "cpus_per_actor": cpus_per_actor,
    }
    if dry_run:
        from featcache.extraction.dry_run import plan_extraction

        plan = plan_extraction(dataset, **arguments)
        console.result(plan.to_json(), plan_lines(plan))
        return
    from featcache.extraction.extract import extract

    if cluster is not None:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")  # GPUs are for the actors
    with stop_gently() as stop, console.progress() as on_progress:
        done = extract(dataset, strict=strict, on_progress=on_progress, stop=stop, **driven, **arguments)
    console.result(to_json(done), lines(done))
    console.note(next_step(done, shard=shard))


def next_step(done: "Extraction", *, shard: str | None = None) -> str:
    """Return what to do with what was made: a part, a cut for fine-tuning, or features for a head."""
    path = escaped(str(done.path))
    if shard is not None:
        return (
            "next: the other shards, then the same command without --shard in this folder, which joins them"
        )
    if done.cache.task == UNLABELLED:
        return (
            f"next: featcache suggest {path} --csv labels.csv (which to label first), featcache similar {path} PHOTO, "
            f"or featcache predict CLASSIFIER {path}"
        )
    layers = [name for name in done.cache.layers if not name.startswith("image:")]
    if all(name.endswith(":map") for name in layers):
        return f"next: featcache finetune CLASSIFIER --cache {path}  (CLASSIFIER: of featcache train-head, same photos)"
    return f"next: featcache train-head {path}"


def plan_lines(plan: "PlanReport") -> list[str]:
    """Return a plan as lines of text."""
    counts = ("computed", "reused", "resumed", "duplicates")
    parts = ", ".join(f"{getattr(plan, part)} {part}" for part in counts if getattr(plan, part))
    several = f" of {plan.views} views each" if plan.views > 1 else ""
    cost = f" ({plan.views} times the features of plain images)" if plan.views > 1 else ""
    return [
        f"{escaped(str(plan.path))} would hold {plan.images} images{several}, {plan.bytes / 1e6:.1f} MB{cost}",
        f"  {plan.task:<9} " + (_NO_LABELS if plan.task == UNLABELLED else str(plan.classes)),
        f"  features  {parts}",
        *_dropped_lines(plan.dropped),
        f"  time      about {plan.seconds:.0f} s, and a few seconds to start"
        + (f"; {plan.engine}" if plan.engine else ""),
        *_skipped_lines(plan.skipped),
    ]


def _dropped_lines(count: int) -> list[str]:
    return [f"  dropped   {count} images that the cache held and the dataset no longer has"] if count else []


def _skipped_lines(skipped: Mapping[str, int]) -> list[str]:
    return (
        ["  left out  " + ", ".join(f"{n} {escaped(why)}" for why, n in skipped.items())] if skipped else []
    )


def views_of(recipe: Mapping[str, Any]) -> str:
    """Return text on a recipe's views and the space that they take."""
    from featcache.images.augmentation import Augmentation

    views = recipe["views"]
    words = Augmentation.from_json(views["policy"])
    drawn = f"{views['count'] - 1} drawn by {words}, seed {views['seed']}"
    return f"{views['count']}, which take {views['count']} times the space: the plain image, and {drawn}"


def to_json(done: "Extraction") -> dict[str, Any]:
    """Return an extraction as plain JSON values."""
    return {
        "cache": str(done.path),
        "images": done.images,
        "views": done.cache.views,
        "computed": done.computed,
        "reused": done.reused,
        "reused_from": {escaped(path): count for path, count in done.reused_from.items()},
        "duplicates": done.duplicates,
        "resumed": done.resumed,
        "dropped": done.dropped,
        **quarantine_json(done.quarantined),
        "details": {escaped(name): escaped(why) for name, why in done.details.items()},
        "retried": [escaped(name) for name in done.retried],
        "damaged": done.damaged,
        "skipped": dict(done.skipped),
        "seconds": round(done.seconds, 3),
        "engine": done.engine,
        "uploaded": escaped(done.uploaded),
        "actors": {escaped(name): round(rate, 2) for name, rate in done.actors.items()},
    }


def lines(done: "Extraction") -> list[str]:
    """Return an extraction as lines of text."""
    from featcache.extraction.cluster.rates import told_rates
    from featcache.extraction.result import unreadable_lines

    cache = done.cache
    counts = {name: len(cache.rows_of(name)) for name in cache.splits}
    megabytes = done.path.stat().st_size / 1e6
    kept = ", ".join(f"{n} {'×'.join(map(str, s.row_shape))} {s.dtype}" for n, s in cache.layers.items())
    text = [
        f"{escaped(str(done.path))}: {done.images} images, {kept}, {megabytes:.1f} MB, {cache.backbone}",
        "  splits    " + ", ".join(f"{name} {count}" for name, count in counts.items()),
        f"  {cache.task:<9} " + _class_names(cache.task, cache.classes),
        *([f"  views     {views_of(cache.identity['recipe'])}"] if cache.views > 1 else []),
        "  features  "
        + ", ".join(
            f"{getattr(done, part)} {part}"
            for part in ("computed", "reused", "resumed", "duplicates")
            if getattr(done, part)
        ),
    ]
    for path, count in done.reused_from.items():
        text.append(f"  copied    {count} from {escaped(path)}, which holds the same images")
    text += _dropped_lines(done.dropped)
    text += [f"  damaged   {done.damaged} rows on the disk, computed again"] if done.damaged else []
    where = shares(done.progress)
    # As the cache records it, and `cache info` and reports tell: without loading the network and hashing.
    rate = cost.images_per_second if done.computed and (cost := cache.extraction_cost) else None
    speed = f", {rate:,.0f} images/s" if rate else ""
    by = f", {done.engine}" if done.engine else ""
    text.append(f"  time      {done.seconds:.1f} s{speed}" + (f" ({where})" if where else "") + by)
    how = "was uploaded before, and is unchanged" if done.uploaded_before else "and read back"
    text += [f"  uploaded  {escaped(done.uploaded)}, {how}"] if done.uploaded else []
    text += [f"  actors    {escaped(told_rates(done.actors))}"] if done.actors else []
    text += _skipped_lines(done.skipped)
    if done.retried:
        again = sum(name not in done.quarantined for name in done.retried)
        text.append(f"  retried   {len(done.retried)} that could not be read before: {again} can be read now")
    return text + [f"  {line}" for line in unreadable_lines(done.quarantined, details=done.details)]


def _class_names(task: str, classes: Sequence[str]) -> str:
    if task == UNLABELLED:
        return _NO_LABELS
    return f"{len(classes)}: " + escaped(", ".join(classes[:10])) + (", …" if len(classes) > 10 else "")


def quarantine_json(quarantined: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return images without features as JSON values: all, and those that the next extraction tries again."""
    from featcache.extraction.result import temporary_images

    return {
        key: {escaped(name): reason for name, reason in images.items()}
        for key, images in (("quarantined", quarantined), ("temporary", temporary_images(quarantined)))
    }
