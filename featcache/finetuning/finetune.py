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
from featcache.core.progress import OnProgress, Progress
from featcache.core.schema import spelled_out
from featcache.datasets import Dataset
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
        What to start from: its head initialises the top, its backbone's weights are loaded anew.
    dataset
        Photos; those that the classifier was trained on by default. They are divided into training, validation and
        test rows as they were for the head.
    cache, layer
        Train from a cached cut instead: the output of a stage, as ``extract(layers=("block_13:map",))`` keeps it.
        No photo is decoded, and the frozen part never runs.
    output
        Folder for the classifier; checkpoints and history go into ``OUTPUT.run``. ``None`` to save nothing.
    reject_accuracy
        See `featcache.train_head`.
    checkpoint_minutes
        Save within an epoch when so much time has passed; after each epoch anyway.
    resume
        Go on with a run of the same settings that was stopped or killed: it ends with the same numbers as one that
        was not.
    overwrite
        Start anew where there is a run already.
    tensorboard
        Also write scalars for TensorBoard into ``OUTPUT.run/tensorboard`` (extra ``tb``).
    workers
        Decoding threads.
    on_progress, on_epoch, stop
        Told how far it is; told the record of each epoch; asked after each batch whether to stop.
    **settings
        How it is trained. `epochs`, `learning_rate`, `optimizer` and others are those of `featcache.train_head`; the
        optimizer is ``"adamw"``, ``"adam"``, ``"sgd"`` or ``"nesterov"``. Of fine-tuning alone (see
        `featcache.finetuning.settings.FineTuningSettings`):

        `train_from`: the first stage that trains; those before it stay as they are, bit by bit. ``"all"``,
        ``"head"``; by default the last third of the stages, or all after the cached one.

        `head_epochs`, `head_learning_rate`: train the head alone for some epochs first.

        `rates`: learning rates by patterns of stage names, such as ``{"head": 1e-3, "block_1*": 1e-4, "*": 1e-5}``:
        the first that matches decides, every parameter must be matched, and a rate of 0 freezes.

        `mixup`: α of mixup of what the first trained stage takes; ``0`` for none.

        `accumulate`: batches whose gradients are averaged into one step.

        `average`: keep and judge an exponential moving average of the parameters with this decay, such as ``0.999``.

        `batch_norm`: ``"frozen"``: running statistics stay everywhere; ``"update"``: stages that train use those of
        the batch.

        `augment`: what is done to training photos, such as ``"flip,random-resized-crop,colour"`` or ``"none"``; by
        default ``"flip,random-square-crop=32"``. A cached cut has the views that it was made with.

        `compute_dtype`: ``"float32"`` or ``"bfloat16"``; by default what the features of the classifier were
        computed in.

    Returns
    -------
    FineTuning
        The classifier, the history, and how it compares with the frozen head.

    Raises
    ------
    UsageError
        If a setting has a value that cannot work, a stage or pattern does not exist, or the classes are others.
    DataError
        If there is nothing to train on.
    IdentityError
        If the cached cut is of other weights, or the run to resume is of other settings.
    WeightsError
        If the backbone's weights cannot be had.
    Interrupted
        If `stop` said so; the run can be resumed.
    """
    started = time.monotonic()
    require_accuracy(reject_accuracy)
    if output is not None:
        require_place(Path(output).resolve())  # not only after hours
    start = classifier if isinstance(classifier, Classifier) else Classifier.load(classifier)
    report = on_progress or (lambda progress: None)
    chosen = tune_settings(start, cached=cache is not None, **settings)
    from featcache.finetuning.result import conclude
    from featcache.finetuning.runs.run_folder import RunFolder
    from featcache.finetuning.runs.tensorboard import Scalars, require_package
    from featcache.finetuning.setup import prepare_task

    if tensorboard:
        require_package()  # before anything is replaced
    task = prepare_task(start, dataset, chosen, cache=cache, layer=layer, report=report, workers=workers)
    folder = None
    if output is not None:
        place = run_place(output)
        opened = RunFolder.open if resume else RunFolder.create
        more = {} if resume else {"overwrite": overwrite}
        folder = opened(place, task.identity(), **more)
    elif resume:
        raise UsageError("nothing can be resumed where nothing is saved; give an output")
    loop = task.loop(
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
        return conclude(task, loop, start, output, reject_accuracy=reject_accuracy, started=started)
    finally:
        if folder is not None:
            folder.close()


def run_place(output: str | os.PathLike[str]) -> Path:
    """Return the folder of a run's checkpoints and history: ``OUTPUT.run``."""
    path = Path(output)
    return path.with_name(path.name + ".run")
