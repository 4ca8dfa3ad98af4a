"""A small TFDS dataset on disk, made as people make them; run with a folder and a format, it prepares itself there.

In a process of its own, because TFDS takes a second to import and keeps a register of builders.
"""

import io
import sys
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from shape_pictures import COUNTS, NAMES, picture  # beside this script


class TinyShapes(tfds.core.GeneratorBasedBuilder):
    """Noise in three classes, with the features around it that real datasets have."""

    VERSION = tfds.core.Version("1.2.0")
    SUPPORTED_VERSIONS = [tfds.core.Version("1.10.0")]  # noqa: RUF012 - TFDS wants it so

    def _info(self) -> Any:
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=NAMES),
            "file_name": tfds.features.Text(),
            "boxes": tfds.features.Sequence({"box": tfds.features.BBoxFeature()}),
            "colour": tfds.features.ClassLabel(names=["red", "blue"]),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager: Any) -> Any:
        return {split: self._generate_examples(split, count) for split, count in COUNTS.items()}

    def _generate_examples(self, split: str, count: int) -> Iterator[tuple[Any, dict[str, Any]]]:
        for index in range(count):
            yield (
                index,
                {
                    "image": io.BytesIO(picture(split, index)),
                    "label": -1 if split == "extra" else index % 3,
                    "file_name": f"{split}-{index}.png",
                    "boxes": [],
                    "colour": index % 2,
                },
            )


class TinyConfigs(TinyShapes):
    """The same in two configs, and without a choice between them."""

    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name, version="1.0.0") for name in ("big", "small")]  # noqa: RUF012


if __name__ == "__main__":
    folder, file_format = sys.argv[1:]
    for builder in (
        TinyShapes(data_dir=folder, file_format=file_format),
        TinyShapes(data_dir=folder, file_format=file_format, version="1.10.0"),
        TinyConfigs(data_dir=folder, file_format=file_format, config="big"),
        TinyConfigs(data_dir=folder, file_format=file_format, config="small"),
    ):
        builder.download_and_prepare()
    print([name for name in sys.modules if name.split(".")[0] == "tensorflow"])
