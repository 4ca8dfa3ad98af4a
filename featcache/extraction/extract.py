"""Extract features: plan the rows, copy those that exist, compute the others, and publish the cache."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.backbones.input_size import ImageSize
from featcache.backbones.registry import DEFAULT
from featcache.cache import WriteLock
from featcache.cache.maintenance import remove_traces
from featcache.core.argument_types import checked_types
from featcache.core.disk.store_urls import redacted
from featcache.core.progress import OnProgress, Progress
from featcache.core.warning import warn_all
from featcache.datasets import Dataset, folder_spec
from featcache.datasets.formats.arrays import named_or_given
from featcache.errors import ImageError, Interrupted
from featcache.extraction.arguments import ExtractionArguments, prepare_extraction
from featcache.extraction.cluster.driver import opened_cluster
from featcache.extraction.cluster.settings import ClusterSettings
from featcache.extraction.engines import AUTO
from featcache.extraction.output_path import with_folder
from featcache.extraction.planning.up_to_date import unchanged_cache
from featcache.extraction.resolved import resolve
from featcache.extraction.result import Extraction
from featcache.extraction.run import Run, as_before, require_complete
from featcache.extraction.spec import ExtractionSpec
from featcache.extraction.uploading import Uploaded
from featcache.images.augmentation import Augmentation
from featcache.images.transforms import Transforms
from featcache.images.views import DEFAULT as DEFAULT_AUGMENT
from featcache.images.views import Views

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone

__all__ = ["Extraction", "OnProgress", "Progress", "extract"]


@checked_types(but=("dataset", "views", "view_seed", "splits", "image_size"))
def extract(
    dataset: str | Path | Dataset | None = None,
    *,
    images: Any = None,
    labels: Iterable[Any] | None = None,
    classes: Sequence[str] | None = None,
    splits: str | Iterable[str] | Mapping[str, str] | None = None,
    ids: Iterable[str] | None = None,
    backbone: "str | LoadedBackbone" = DEFAULT,
    layers: Sequence[str] = ("pool",),
    image_statistics: bool = True,
    output: str | os.PathLike[str] | None = None,
    weights: str | Path | None = None,
    image_size: ImageSize | None = None,
    rgb: str | None = None,
    transforms: Transforms | str | None = None,
    dtype: str = "float32",
    compute_dtype: str = "float32",
    views: int = 1,
    augment: str | Augmentation = DEFAULT_AUGMENT,
    view_seed: int = 0,
    test_fraction: float = 0.2,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    label_from: str | None = None,
    classes_at: int | None = None,
    unlabelled: bool = False,
    allow_empty_classes: bool = False,
    split: str | None = None,
    shard: str | None = None,
    reuse: Sequence[str | os.PathLike[str]] = (),
    verify: bool = False,
    strict: bool = False,
    overwrite: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    engine: str = AUTO,
    cluster: str | None = None,
    address: str | None = None,
    actors: int | None = None,
    gpus_per_actor: float | None = None,
    cpus_per_actor: int | None = None,
    on_progress: OnProgress | None = None,
    stop: Callable[[], bool] | None = None,
) -> Extraction:
    """Run a frozen backbone once over a dataset and keep its features in a cache.

    If it is interrupted, the same call continues where it stopped. Called again after images were added,
    removed, renamed or relabelled, it computes only the images that are new.

    Parameters
    ----------
    dataset
        A spec (``"photos/"``, ``"folder:photos"``) or an opened dataset.
    images, labels, classes, splits, ids
        Instead of a dataset, pictures that are in memory (arrays, encoded bytes, PIL images) or paths, one label for
        each, and optional classes, splits and ids; see `featcache.open_arrays`. With a folder, `splits` says which
        of its folders are which split, as ``"train=training_set,test=test_set"``; see `featcache.open_dataset`.
        `unlabelled` images have no labels.
    backbone
        ``arch`` or ``arch.tag``, or a loaded backbone.
    layers
        Layers of the network to store, such as ``"pool"`` or ``"block_13_expand_relu:avg"``.
    image_statistics
        Also store colour statistics of the images, 54 numbers each in the layer ``"image:statistics"``, so that
        `featcache.train_head` can report the accuracy that they reach alone. A cache that was made without them is
        continued without them, unless `overwrite` is given.
    output
        The cache file; ``NAME-BACKBONE.h5`` in the working directory by default. A URL such as
        ``"s3://bucket/cache.h5"`` is uploaded to and read back once the cache is finished in ``FEATCACHE_HOME``.
    weights
        A weights file to use instead of the published one.
    image_size
        Input size in pixels instead of the one that belongs to the weights: a number (square), ``(height,
        width)``, or text such as ``"150x200"``. It also replaces that of a loaded backbone, and of `transforms`.
    rgb
        The rule for pictures that are not plain RGB instead of the one that belongs to the weights, such as
        ``"range=0:4095"`` for 16-bit grey that uses 12 bits; see `featcache.images.transforms.Transforms`.
    transforms
        Preprocessing to use instead of the one that belongs to the weights; or ``"published"``, with which their
        published accuracy was measured, ``"center:0.875"`` or ``"squash:0.875"`` (see
        `featcache.backbones.protocols.named_transforms`).
    dtype
        Stored dtype: ``"float32"`` or ``"float16"``.
    compute_dtype
        ``"float32"`` or ``"bfloat16"``.
    views
        Number of views of each image to store: the plain one, and others that are drawn as `augment` says. Features
        take that many times the space. Readers of a cache use the plain view by default.
    augment
        Augmentation of the drawn views, in the grammar of `featcache.images.augmentation.Augmentation.parse`,
        such as ``"flip,random-resized-crop,colour"``.
    view_seed
        Seed of the drawn views.
    test_fraction, seed
        How a dataset without splits is divided into train and test.
    data_dir
        Where TFDS's datasets are prepared; see `featcache.open_dataset`.
    label_from
        How the names of a folder's files tell their labels, as ``"{label}_{}.jpg"``; see `featcache.open_dataset`.
    classes_at
        Level of the class folders of a folder; see `featcache.open_dataset`.
    unlabelled
        Extract images without their labels, which need not be there: for `featcache.FeatureCache` and
        `Classifier.predict`; heads refuse such a cache. See `featcache.open_dataset`.
    allow_empty_classes
        Go on without a class of which no picture can be read; see there.
    split
        A split of the dataset, or a slice such as ``"train[:10%]"`` or ``"[:100]"`` (of all), cut over its records in
        their order (see `featcache.splits.slices`): only these are read. Training and test rows
        can also be chosen later from the cache, at no cost.
    shard
        ``"i/n"``: only the i-th of n parts of the dataset, into an ordinary cache. Another extraction with
        these caches in `reuse` combines them.
    reuse
        Finished caches of the same recipe to copy rows from, by the images' content. Earlier versions of the
        target, and caches beside it or in ``FEATCACHE_HOME/caches``, are used without being named.
    verify
        Read and hash every image again, even if its file has not changed since it was hashed.
    strict
        Fail on the first unreadable image instead of leaving it out.
    overwrite
        Replace a cache of another recipe or dataset at `output`.
    batch_size, workers
        Images per call and decoding threads; chosen for the platform by default. They do not change the
        features.
    engine
        What runs the network: ``"jax"``; ``"onnxruntime"``, which is faster on CPUs (the extra ``onnx``, float32);
        ``"auto"`` takes it where it can run the network and there are enough images. Before a row is written, its
        features of probe images are compared with JAX's. Caches of both serve each other.
    cluster
        What computes on several processes and machines: ``"ray"`` (the extra ``ray``). Actors compute, and this process
        writes the same file as without them. `workers` are threads of each actor.
    address
        Of a Ray cluster, such as ``"auto"`` on one of its nodes; by default ``RAY_ADDRESS``, else Ray is started on
        this machine for as long as the extraction takes.
    actors
        Number of actors; by default as many as the cluster has room for.
    gpus_per_actor, cpus_per_actor
        What each actor is given: by default one GPU if there are any, and the processors that belong to it; else four
        processors, or fewer.
    on_progress
        Called with a `Progress` as the work proceeds.
    stop
        Called after every file and chunk; if it returns true, the extraction stops and keeps finished rows.

    Returns
    -------
    Extraction
        Path of the cache and what was done.

    Raises
    ------
    UsageError
        If an argument has an invalid value, such as an `image_size` too small for the network; or `engine` cannot run
        here, or not this network (`MissingExtraError` where its packages are missing).
    DataError
        If the dataset is missing, empty, or nothing in it can be read.
    WeightsError
        If the backbone's weights cannot be loaded.
    IdentityError
        If `output` or a cache to reuse holds features of another recipe; lists the differences. If `output` holds
        another dataset, some images of which would be lost.
    StorageError
        If a finished cache could not be uploaded; the message says where it lies.
    LockedError
        If another process is writing the same cache.
    Interrupted
        If `stop` returned true.
    """
    started = time.monotonic()
    layout = splits if images is None and isinstance(splits, str | Mapping) else None
    about = {"classes": classes, "splits": None if layout is not None else splits, "ids": ids}
    given = named_or_given(dataset, images, labels, unlabelled=unlabelled, **about)
    source = folder_spec(given, label_from=label_from, splits=layout, classes_at=classes_at)
    arguments = ExtractionArguments(
        spec=ExtractionSpec(
            backbone=backbone,
            layers=tuple(layers),
            weights=weights,
            transforms=transforms,
            dtype=dtype,
            compute_dtype=compute_dtype,
            image_size=image_size,
            rgb=rgb,
            image_statistics=image_statistics,
            views=Views.of(views, augment, view_seed),
        ),
        output=output,
        test_fraction=test_fraction,
        seed=seed,
        data_dir=data_dir,
        unlabelled=unlabelled,
        allow_empty_classes=allow_empty_classes,
        split=split,
        shard=shard,
        reuse=reuse,
        verify=verify,
        overwrite=overwrite,
        batch_size=batch_size,
        workers=workers,
        engine=engine,
    )
    upload = Uploaded.of(output)
    if upload is not None:
        upload.require_possible(overwrite=overwrite)
    driven = ClusterSettings(
        cluster=cluster,
        address=address,
        actors=actors,
        gpus_per_actor=gpus_per_actor,
        cpus_per_actor=cpus_per_actor,
    )
    data, part = arguments.open(source)
    report = _reporter(on_progress, stop)
    failures: dict[int, ImageError] = {}
    if unchanged := unchanged_cache(arguments, data, part, report, failures):
        require_complete(unchanged, strict=strict)
        remove_traces(unchanged.path)
        return _told(as_before(unchanged, data, started, failures), upload)
    with ExitStack() as stack:
        crew = stack.enter_context(opened_cluster(driven, arguments, source, data, report))
        report(Progress("load", total=len(data.records)))
        resolved = resolve(arguments.spec)
        target = arguments.target(data, part, resolved)
        stack.enter_context(WriteLock(with_folder(target)))
        prepared = prepare_extraction(arguments, resolved, data, target, report=report, cluster=crew)
        done = Run(prepared, strict, report).run(started)
    return _told(done, upload)


def _told(done: Extraction, upload: Uploaded | None) -> Extraction:
    warn_all(done.warnings)
    if upload is None:
        return done
    sent = upload.upload()
    return replace(done, uploaded=redacted(upload.url), uploaded_before=not sent)


def _reporter(on_progress: OnProgress | None, stop: Callable[[], bool] | None) -> OnProgress:
    def report(progress: Progress) -> None:
        if on_progress is not None:
            on_progress(progress)
        if stop is not None and stop() and progress.stage != "verify":
            raise Interrupted(
                f"stopped after {progress.done} of {progress.total} images"
                + (" (being hashed)" if progress.stage == "hash" else ", which are kept")
                + "; run the same command again to go on"
            )

    return report
