"""Fine-tuning: start from a trained head, freeze the first stages, train the rest from photos or from a cached cut."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from featcache.cache import FeatureCache
from featcache.classifier.classifier import Classifier
from featcache.classifier.rejection import require_accuracy
from featcache.core.classifier_folder import require_place
from featcache.core.disk.names import resolved
from featcache.core.progress import OnProgress, Progress
from featcache.core.schema import spelled_out
from featcache.core.warning import warn_all
from featcache.datasets import Dataset, photos_spec
from featcache.datasets.exclude_list import ExcludeGiven
from featcache.errors import UsageError
from featcache.finetuning.settings import SETTINGS, FineTuningArguments, tune_settings

if TYPE_CHECKING:
    from featcache.finetuning.result import FineTuning

OnEpoch = Callable[[Mapping[str, Any]], None]


@spelled_out(FineTuningArguments, SETTINGS, before="reject_accuracy")
def finetune(
    classifier: str | os.PathLike[str] | Classifier,
    dataset: str | Path | Dataset | None = None,
    *,
    cache: str | os.PathLike[str] | FeatureCache | None = None,
    layer: str | None = None,
    label_from: str | None = None,
    splits: str | Mapping[str, str] | None = None,
    classes_at: int | None = None,
    allow_empty_classes: bool = False,
    exclude: ExcludeGiven = None,
    output: str | os.PathLike[str] | None = "finetuned",
    reject_accuracy: float = 0.95,
    checkpoint_minutes: float = 10.0,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
    on_epoch: OnEpoch | None = None,
    stop: Callable[[], bool] | None = None,
    **settings: Unpack[FineTuningArguments],
) -> "FineTuning":
    """Fine-tune a classifier: the last stages of its backbone, all of them, or its head alone.

    Parameters
    ----------
    classifier
        The classifier to start from: its head initialises the head, its backbone's weights are loaded again.
    dataset
        Photos; by default those that the classifier was trained on. They are split into training, validation and
        test rows as they were for the head.
    cache, layer
        Train from a cached cut instead: the output of a stage, as ``extract(layers=("block_13:map",))`` caches it.
        No photo is decoded, and the frozen part never runs.
    label_from, splits, classes_at, allow_empty_classes
        How a folder of photos is read, as `featcache.extract` takes them; the photos that the classifier was trained on
        are read as they were then.
    exclude
        Photos to leave out, beside those that the head's own list left out: the file of a list, or their ids; see
        `featcache.train_head`.
    output
        Folder for the classifier; checkpoints and history go into ``OUTPUT.run``. ``None`` to save nothing.
    reject_accuracy
        See `featcache.train_head`.
    checkpoint_minutes
        Minutes between checkpoints within an epoch; one is saved after each epoch too.
    resume
        Continue a run of the same settings that was stopped or killed; the result is bit by bit that of an
        uninterrupted run.
    overwrite
        Replace a run that is already there.
    tensorboard
        Also write scalars for TensorBoard into ``OUTPUT.run/tensorboard`` (extra ``tb``).
    workers
        Decoding threads.
    on_progress, on_epoch, stop
        Called with the progress after each batch; called with the record of each epoch; asked after each batch
        whether to stop.
    **settings
        How it is trained. `epochs`, `learning_rate`, `optimizer` and others are those of `featcache.train_head`; the
        optimizer is ``"adamw"``, ``"adam"``, ``"sgd"`` or ``"nesterov"``. Those of
        fine-tuning only (see `featcache.finetuning.settings.FineTuningSettings`):

        `train_from`: the first stage that trains; those before it are frozen, bit by bit. ``"all"``,
        ``"head"``; by default the last third of the stages, or all after the cached one.

        `head_epochs`, `head_learning_rate`: train the head alone for some epochs first.

        `rates`: learning rates by patterns of stage names, such as ``{"head": 1e-3, "block_1*": 1e-4, "*": 1e-5}``:
        the first that matches decides, every parameter must be matched, and a rate of 0 freezes.

        `mixup`: α of mixup on the input of the first trained stage; ``0`` for none.

        `accumulate`: batches whose gradients are averaged into one step.

        `average`: validate and keep an exponential moving average of the parameters with this decay, such as ``0.999``.

        `batch_norm`: ``"frozen"``: running statistics are kept everywhere; ``"update"``: trained stages normalise by
        the batch and update them.

        `augment`: augmentation of training photos, such as ``"flip,random-resized-crop,colour"`` or ``"none"``; by
        default ``"flip,random-square-crop=32"``. A cached cut has the views that it was extracted with.

        `compute_dtype`: ``"float32"`` or ``"bfloat16"``; by default that of the classifier's features.

    Returns
    -------
    FineTuning
        The classifier, the history, and the comparison with the frozen head.

    Raises
    ------
    UsageError
        If a setting has an invalid value, a stage or pattern does not exist, or the classes differ; if an option for
        photos is given without them, or for what is no folder.
    DataError
        If there are no training rows, or a class would vanish from the photos.
    IdentityError
        If the cached cut is of other weights, or the run to resume is of other settings.
    WeightsError
        If the backbone's weights cannot be loaded.
    Interrupted
        If `stop` returned true; the run can be resumed.
    """
    started = time.monotonic()
    require_accuracy(reject_accuracy)
    photos = photos_spec(
        dataset,
        label_from=label_from,
        splits=splits,
        classes_at=classes_at,
        allow_empty_classes=allow_empty_classes,
    )
    if output is not None:
        require_place(resolved(output))  # now, not after hours of training
    given = classifier if isinstance(classifier, Classifier) else Classifier.load(classifier)
    # Validation images tell when to stop, so the head may not have learnt from them.
    start = given.before_refit()
    report = on_progress or (lambda progress: None)
    chosen = tune_settings(start, cached=cache is not None, **settings)
    from featcache.finetuning.result import conclude
    from featcache.finetuning.runs.run_folder import RunFolder
    from featcache.finetuning.runs.tensorboard import Scalars, require_package
    from featcache.finetuning.setup import prepare_setup

    if tensorboard:
        require_package()  # before a run is replaced
    setup = prepare_setup(
        start,
        photos,
        chosen,
        cache=cache,
        layer=layer,
        exclude=exclude,
        allow_empty_classes=allow_empty_classes,
        report=report,
        workers=workers,
    )
    folder = None
    if output is not None:
        place = run_place(output)
        opened = RunFolder.open if resume else RunFolder.create
        more = {} if resume else {"overwrite": overwrite}
        folder = opened(place, setup.identity(), **more)
    elif resume:
        raise UsageError("a run without an output saves nothing, so it cannot be resumed; give an output")
    loop = setup.loop(
        folder=folder,
        every=60 * checkpoint_minutes,
        on_progress=report,
        on_epoch=on_epoch or (lambda record: None),
        stop=stop or (lambda: False),
    )
    try:
        target = folder.path / "tensorboard" if folder is not None and tensorboard else None
        with Scalars(target) as scalars:
            loop.scalars = scalars
            loop.run(resume=resume)
        report(Progress("evaluate"))
        done = conclude(
            setup,
            loop,
            start,
            output,
            reject_accuracy=reject_accuracy,
            started=started,
            refitted=start is not given,
        )
        warn_all(done.warnings)
        return done
    finally:
        if folder is not None:
            folder.close()


def run_place(output: str | os.PathLike[str]) -> Path:
    """Return the folder of a run's checkpoints and history: ``OUTPUT.run``."""
    path = Path(output)
    return path.with_name(path.name + ".run")
