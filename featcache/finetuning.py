"""Fine-tuning: start from a trained head, freeze the first stages, train the rest from photos or from a cached cut."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.cache import FeatureCache
from featcache.classifier import Classifier
from featcache.errors import DataError, UsageError
from featcache.progress import OnProgress, Progress
from featcache.rejection import require_accuracy
from featcache.sources import Dataset, open_dataset
from featcache.tuning.settings import TuneSettings, read_rates

if TYPE_CHECKING:
    from featcache.tuning.data import TuneData
    from featcache.tuning.model import Model
    from featcache.tuning.outcome import FineTuning
    from featcache.tuning.phases import Division
    from featcache.tuning.program import Phase

PHOTO_AUGMENTATION = "flip,random-square-crop=32"
"""What is done to training photos where nobody says: mild, so that few epochs suffice."""

OnEpoch = Callable[[Mapping[str, Any]], None]


def finetune(
    classifier: str | os.PathLike[str] | Classifier,
    dataset: str | Path | Dataset | None = None,
    *,
    cache: str | os.PathLike[str] | FeatureCache | None = None,
    layer: str | None = None,
    output: str | os.PathLike[str] | None = "finetuned",
    train_from: str | None = None,
    epochs: int = 10,
    learning_rate: float = 1e-4,
    head_epochs: int = 0,
    head_learning_rate: float = 1e-3,
    rates: Mapping[str, float] | Sequence[str] = (),
    optimizer: str = "adamw",
    momentum: float = 0.9,
    schedule: str = "cosine",
    end: float = 0.0,
    power: float = 1.0,
    warmup: float = 0.0,
    weight_decay: float = 0.0,
    clip: float | None = None,
    label_smoothing: float = 0.0,
    mixup: float = 0.0,
    dropout: float = 0.0,
    class_weights: str = "none",
    batch_size: int = 32,
    accumulate: int = 1,
    average: float | None = None,
    batch_norm: str = "frozen",
    augment: str | None = None,
    compute_dtype: str | None = None,
    monitor: str = "loss",
    patience: int = 5,
    min_delta: float = 0.0,
    seed: int = 0,
    reject_accuracy: float = 0.95,
    checkpoint_minutes: float = 10.0,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
    on_epoch: OnEpoch | None = None,
    stop: Callable[[], bool] | None = None,
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
    train_from
        The first stage that trains; those before it stay as they are, bit by bit. ``"all"``, ``"head"``; by default
        the last third of the stages, or all after the cached one.
    epochs, learning_rate, optimizer, momentum, schedule, end, power, warmup, weight_decay, clip, label_smoothing, \
dropout, class_weights, batch_size, monitor, patience, min_delta, seed
        See `featcache.train_head`; the optimiser is ``"adamw"``, ``"adam"``, ``"sgd"`` or ``"nesterov"``.
    mixup
        α of mixup of what the first trained stage takes; ``0`` for none.
    head_epochs, head_learning_rate
        Train the head alone for some epochs first.
    rates
        Learning rates by patterns of stage names, such as ``{"head": 1e-3, "block_1*": 1e-4, "*": 1e-5}``: the first
        that matches decides, every parameter must be matched, and a rate of 0 freezes.
    accumulate
        Batches whose gradients are averaged into one step.
    average
        Keep and judge an exponential moving average of the parameters with this decay, such as ``0.999``.
    batch_norm
        ``"frozen"``: running statistics stay everywhere; ``"update"``: stages that train use those of the batch.
    augment
        What is done to training photos, such as ``"flip,random-resized-crop,colour"`` or ``"none"``; by default
        ``"flip,random-square-crop=32"``. A cached cut has the views that it was made with.
    compute_dtype
        ``"float32"`` or ``"bfloat16"``; by default what the features of the classifier were computed in.
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
    start = classifier if isinstance(classifier, Classifier) else Classifier.load(classifier)
    report = on_progress or (lambda progress: None)
    settings = tune_settings(
        start,
        cached=cache is not None,
        train_from=train_from,
        head_epochs=head_epochs,
        head_learning_rate=head_learning_rate,
        rates=rates,
        accumulate=accumulate,
        average=average,
        batch_norm=batch_norm,
        augment=augment,
        compute_dtype=compute_dtype,
        epochs=epochs,
        learning_rate=learning_rate,
        optimizer=optimizer,
        momentum=momentum,
        schedule=schedule,
        end=end,
        power=power,
        warmup=warmup,
        weight_decay=weight_decay,
        clip=clip,
        label_smoothing=label_smoothing,
        mixup=mixup,
        dropout=dropout,
        class_weights=class_weights,
        batch_size=batch_size,
        monitor=monitor,
        patience=patience,
        min_delta=min_delta,
        seed=seed,
    )
    from featcache.tuning.outcome import conclude
    from featcache.tuning.run_folder import RunFolder
    from featcache.tuning.tensorboard import Scalars

    task = prepare_task(start, dataset, settings, cache=cache, layer=layer, report=report, workers=workers)
    folder = None
    if output is not None:
        place = run_place(output)
        opened = RunFolder.open if resume else RunFolder.create
        more = {} if resume else {"overwrite": overwrite}
        folder = opened(place, task.identity(start), **more)
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


def tune_settings(
    classifier: Classifier,
    *,
    cached: bool,
    augment: str | None,
    compute_dtype: str | None,
    rates: Any,
    **given: Any,
) -> TuneSettings:
    """Return the settings of a fine-tuning from the arguments of `finetune`."""
    own = ("train_from", "head_epochs", "head_learning_rate", "accumulate", "average", "batch_norm")
    training = replace(
        classifier.settings, noise=0.0, **{name: value for name, value in given.items() if name not in own}
    )
    if cached and augment not in (None, "none"):
        raise UsageError(
            f"augment {augment!r} with a cached cut, whose photos were prepared when it was made; "
            "cache views (extract --views 8 --augment …), or train from photos"
        )
    return TuneSettings(
        training=training,
        rates=read_rates(rates),
        augment=augment or ("none" if cached else PHOTO_AUGMENTATION),
        compute_dtype=compute_dtype or classifier.recipe["compute_dtype"],
        **{name: given[name] for name in own},
    )


@dataclass(frozen=True)
class Task:
    """A fine-tuning, once everything about it is known.

    Parameters
    ----------
    model, division, phases, settings, data
        What trains, how, and on what.
    head
        The head's arrays to start from.
    workers
        Decoding threads.
    """

    model: "Model"
    division: "Division"
    phases: "Sequence[Phase]"
    settings: TuneSettings
    data: "TuneData"
    head: Mapping[str, Any]
    classifier: Classifier = field(repr=False)
    workers: int | None = None

    def identity(self, classifier: Classifier) -> dict[str, Any]:
        """Return all that decides the result, for `resume` to compare."""
        from featcache.identity import sha256_tensors

        return {
            "classifier": {
                "fingerprint": classifier.fingerprint,
                "head_sha256": sha256_tensors(classifier.parameters.items()),
                "classes": list(classifier.classes),
            },
            "rows_sha256": self.data.rows_sha256,
            "rows": {part: len(getattr(self.data.rows, part)) for part in ("train", "val", "test")},
            "cut": self.data.layer,
            "views": None if self.data.cache is None else dict(self.data.cache.identity["recipe"]["views"]),
            "stored_dtype": None if self.data.cache is None else self.data.cache.recipe["stored_dtype"],
            "first_trained": next(iter(self.division.trained), "head"),
            "settings": self.settings.to_json(),
        }

    def loop(self, **more: Any) -> Any:
        """Return the run, ready to begin."""
        from featcache.augmentation import Augmentation
        from featcache.heads import HEADS  # noqa: F401 - JAX begins here
        from featcache.tuning.devices import Devices
        from featcache.tuning.inputs import Kept
        from featcache.tuning.loop import Loop
        from featcache.tuning.program import Program
        from featcache.tuning.settings import HEAD

        augmentation = Augmentation.parse(self.settings.augment)
        inputs = []
        for phase in self.phases:
            source = self.data.inputs(
                self.model.network,
                self.model.layer,
                self.classifier,
                after=phase.after,
                augmentation=augmentation,
                compute_dtype=self.settings.compute_dtype,
                seed=self.settings.training.seed,
                workers=self.workers,
            )
            fixed = augmentation.plain and phase.after == HEAD
            inputs.append(Kept(source) if fixed else source)
        return Loop(
            programs=[Program(self.model, phase) for phase in self.phases],
            inputs=inputs,
            values=self.model.values(self.head),
            labels=self.data.labels,
            train=self.data.rows.train,
            val=self.data.rows.val,
            classes=len(self.classifier.classes),
            row_weights=_row_weights(
                self.settings.training.class_weights, self.data.labels, self.data.rows.train
            ),
            drop_last=self.settings.batch_norm == "update",
            devices=Devices(),
            **more,
        )


def _row_weights(rule: str, labels: Any, train: Any) -> Any:
    """Return float32 ``[N]``: 1, or what makes all classes of the training rows count the same."""
    import numpy as np

    if rule == "none":
        return np.ones(len(labels), np.float32)
    counts = np.bincount(labels[train], minlength=labels.max() + 1)
    present = np.count_nonzero(counts)
    return (len(train) / (present * np.maximum(counts, 1)))[labels].astype(np.float32)


def prepare_task(
    classifier: Classifier,
    dataset: str | Path | Dataset | None,
    settings: TuneSettings,
    *,
    cache: str | os.PathLike[str] | FeatureCache | None,
    layer: str | None,
    report: OnProgress,
    workers: int | None,
) -> Task:
    """Load the network, look at the data, and decide what trains; raises what `finetune` raises."""
    from featcache.prediction import classifier_predictor
    from featcache.tuning.data import from_cut, from_photos
    from featcache.tuning.phases import build_phases, divide, make_model

    if cache is not None and dataset is not None:
        raise UsageError("both photos and a cached cut were given; leave out the dataset, or --cache")
    if layer is not None and cache is None:
        raise UsageError(f"layer {layer} is one of a cached cut; give --cache too")
    report(Progress("load"))
    network = classifier_predictor(classifier).network
    if cache is not None:
        opened = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
        data = from_cut(classifier, network, opened, layer)
    else:
        given = classifier.provenance["dataset"] if dataset is None else dataset
        found = given if isinstance(given, Dataset) else open_dataset(str(given))
        data = from_photos(classifier, found, report=report, workers=workers)
    if not len(data.rows.val) and not len(data.rows.test):
        raise DataError(
            f"{data.spec} has no validation and no test images, so nothing could tell whether fine-tuning helps; "
            "train the head with a share held out (--val-fraction 0.2)"
        )
    model = make_model(classifier, network, settings.compute_dtype)
    division = divide(model, settings.train_from, cached=data.cut)
    head = classifier.parameters
    phases = build_phases(model, list(head), division, settings, data)
    return Task(model, division, phases, settings, data, head, classifier, workers)
