"""The classic way: a frozen network of keras.applications inside the model that is fitted, on the JAX backend.

As keras.io's guide to transfer learning has it: the frozen base is part of the graph, so that every photo passes it in
every epoch. What can be kind to Keras is: photos are decoded once and lie in memory, normalisation is part of the
compiled program, and nothing is asked of the frozen part's gradients.
"""

import io
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from study import of_split

import featcache

os.environ.setdefault("KERAS_BACKEND", "jax")  # read when Keras is imported


def decoded(records: list[Any], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return photos uint8 ``[N, H, W, 3]``, squashed as ``keras.utils.load_img`` does it, and labels int ``[N]``."""
    height, width = size
    pixels = np.empty((len(records), height, width, 3), np.uint8)
    for row, record in enumerate(records):
        with Image.open(io.BytesIO(record.read())) as photo:
            pixels[row] = np.asarray(photo.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
    return pixels, np.array([record.label for record in records])


def mobilenet(alpha: float, size: tuple[int, int], weights: Path | None) -> Any:
    """Return Keras' MobileNetV1 as far as its last convolution, frozen; without a file its weights are drawn."""
    keras: Any = import_module("keras")
    shape = (*size, 3)
    if weights is None:
        base = keras.applications.MobileNet(input_shape=shape, alpha=alpha, include_top=False, weights=None)
        draw_kernels(base)
    else:
        whole = keras.applications.MobileNet(input_shape=shape, alpha=alpha, weights=str(weights))
        base = keras.Model(whole.input, whole.get_layer("conv_pw_13_relu").output)
    base.trainable = False
    return base


def draw_kernels(model: Any) -> None:
    """Give kernels values that keep the scale of what passes; under Keras' own a depthwise network dies out."""
    random = np.random.default_rng(0)
    for variable in model.weights:
        if variable.path.endswith("kernel"):
            shape = tuple(variable.shape)
            inputs = np.prod(shape[:2] if shape[-1] == 1 else shape[:-1])
            variable.assign(random.normal(0, np.sqrt(2 / inputs), shape))


class KerasTraining:
    """A frozen base and a new last layer, fitted epoch by epoch.

    Parameters
    ----------
    base
        See `mobilenet`.
    data
        Photos with the splits ``train``, ``val`` and ``test``.
    size
        Height and width of the input.
    learning_rate, batch_size
        Of Adam.
    """

    def __init__(
        self,
        base: Any,
        data: featcache.Dataset,
        size: tuple[int, int],
        *,
        learning_rate: float,
        batch_size: int,
    ) -> None:
        keras: Any = import_module("keras")
        keras.utils.set_random_seed(0)
        self.train, self.val, self.test = (
            decoded(of_split(data, name), size) for name in ("train", "val", "test")
        )
        self.batch_size, self.done = batch_size, 0
        photo = keras.Input((*size, 3), dtype="uint8")
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(photo)
        pooled = keras.layers.GlobalAveragePooling2D()(base(scaled, training=False))
        # The loss of the last layer is convex. From zeros, as featcache's head begins, both ways are the same protocol;
        # Keras' own random start costs it 4.0 points (1.0 to 7.0) on 300 cats and dogs after 6 epochs.
        last = keras.layers.Dense(len(data.classes), kernel_initializer="zeros")
        self.model = keras.Model(photo, last(pooled))
        self.model.compile(
            optimizer=keras.optimizers.Adam(learning_rate),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=True,
        )
        self._both = keras.Model(photo, [self.model.output, pooled])

    def epoch(self) -> float:
        """Fit one more epoch; returns the validation accuracy after it."""
        history = self.model.fit(
            *self.train,
            validation_data=self.val,
            batch_size=self.batch_size,
            initial_epoch=self.done,
            epochs=self.done + 1,
            verbose=0,
        )
        self.done += 1
        return float(history.history["val_accuracy"][0])

    def scored(self) -> tuple[np.ndarray, np.ndarray]:
        """Return which test photos are classified correctly, bool ``[N]``, and their features, float32 ``[N, D]``."""
        outputs, pooled = self._both.predict(self.test[0], batch_size=self.batch_size, verbose=0)
        return outputs.argmax(axis=1) == self.test[1], pooled
