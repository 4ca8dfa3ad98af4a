"""Which TFDS dataset a spec means, and where it is on disk: names of files only, without the library."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from featcache.core.disk.names import expanded
from featcache.datasets.names import natural_key
from featcache.datasets.tfds.metadata import INFO
from featcache.errors import DataError, UsageError, did_you_mean

EXPECTED = "expected tfds:NAME[/CONFIG][:VERSION][?OPTION=VALUE&…] such as tfds:cats_vs_dogs:4.0.1?data_dir=/data/tfds"
READABLE = ("array_record", "parquet")
"""Formats in which an example can be read without those before it."""

_OPTIONS = ("data_dir", "download", "image", "label")
_YES = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def default_data_dir() -> Path:
    """``$TFDS_DATA_DIR``, else ``~/tensorflow_datasets``, as TFDS has it."""
    return expanded(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


@dataclass(frozen=True)
class TfdsSpec:
    """What a spec asks for.

    Parameters
    ----------
    text
        The spec after ``tfds:``.
    name, config, version
        As in ``tfds.load``; empty config and version are whatever is on disk.
    data_dir
        Where prepared datasets are.
    download
        Whether to prepare what is not there.
    image, label
        Names of features, where there is a choice.
    """

    text: str
    name: str
    config: str = ""
    version: str = ""
    data_dir: Path = field(default_factory=default_data_dir)
    download: bool = False
    image: str = ""
    label: str = ""

    @property
    def asked(self) -> str:
        """Name, config and version as TFDS writes them."""
        return "/".join(filter(None, (self.name, self.config))) + (f":{self.version}" if self.version else "")

    @property
    def to_download(self) -> str:
        """The same spec, but for ``download=yes``."""
        options = self.text.partition("?")[2].split("&")
        kept = [option for option in options if option and not option.startswith("download=")]
        return f"tfds:{self.asked}?{'&'.join((*kept, 'download=yes'))}"

    @classmethod
    def parse(cls, text: str) -> "TfdsSpec":
        """Read ``name[/config][:version][?data_dir=…&download=…&image=…&label=…]``; raises `UsageError`."""
        wanted, _, query = text.partition("?")
        match = re.fullmatch(r"(\w+)(?:/([^/:?]+))?(?::(\d+\.\d+\.\d+))?", wanted)
        if not match:
            raise UsageError(f"tfds:{text}: {EXPECTED}")
        pairs = parse_qsl(query, keep_blank_values=True)
        options = {key: value for key, value in pairs if value}
        for key, value in pairs:
            if key not in _OPTIONS or not value:
                raise UsageError(f"tfds:{text}: option {key}={value}; {did_you_mean(key, _OPTIONS)}")
        given = options.pop("data_dir", None)
        download = options.pop("download", "no")
        if download not in _YES:
            raise UsageError(f"tfds:{text}: download={download}; expected yes or no")
        return cls(
            text,
            match[1],
            match[2] or "",
            match[3] or "",
            expanded(given) if given else default_data_dir(),
            _YES[download],
            **options,
        )


def find_prepared(spec: TfdsSpec) -> Path | None:
    """Return the folder of a prepared dataset, or ``None``; looks at names of files only.

    Without a version in the spec the newest is taken.

    Raises
    ------
    UsageError
        If several configs are there and the spec names none.
    """
    root = spec.data_dir / spec.name
    versions = _versions(root / spec.config, spec.version)
    if versions:
        return versions[-1]
    if spec.config:
        return None
    configs = {path.name: found[-1] for path in _folders(root) if (found := _versions(path, spec.version))}
    if len(configs) > 1:
        raise UsageError(
            f"tfds:{spec.text}: {root} holds several configs: {', '.join(sorted(configs))}; "
            f"name one, such as tfds:{spec.name}/{min(configs)}"
        )
    return next(iter(configs.values()), None)


def prepared_versions(spec: TfdsSpec) -> list[str]:
    """Return what is prepared of the dataset that a spec names, as specs write it: config and version."""
    root = spec.data_dir / spec.name
    configs = [spec.config] if spec.config else ["", *sorted(path.name for path in _folders(root))]
    found = [(config, path.name) for config in configs for path in _versions(root / config, "")]
    return ["/".join(filter(None, (spec.name, config))) + f":{version}" for config, version in found]


def require_readable(folder: Path, info: Mapping[str, Any]) -> None:
    """Refuse a dataset that only TensorFlow could read, and say what to do.

    Parameters
    ----------
    folder
        Where it is prepared.
    info
        What it says of itself, see `featcache.datasets.tfds.metadata.read_info`.

    Raises
    ------
    DataError
        If it is prepared in another format than `READABLE`, or does not say in which.
    """
    others = info.get("alternativeFileFormats", [])
    formats = [info.get("fileFormat") or "tfrecord", *(others if isinstance(others, list) else [None])]
    if not all(isinstance(name, str) for name in formats):
        raise DataError(f"cannot read {folder / INFO}: its formats are no names. Prepare the dataset again")
    if not {*formats} & {*READABLE}:
        raise DataError(
            f"{folder} is prepared as {', '.join(formats)}, which only TensorFlow reads; expected "
            f"{' or '.join(READABLE)}. Prepare it again in another folder (data_dir=OTHER), with "
            "tfds.builder(NAME, data_dir=OTHER, file_format='array_record').download_and_prepare(); or convert it "
            f"where TensorFlow may be installed: pip install 'featcache[tf]', then "
            f"tfds convert_format --dataset_version_dir={folder} --out_file_format=array_record"
        )


def prepared_names(data_dir: Path) -> list[str]:
    """Return the names of the datasets that are prepared in a folder."""
    return sorted(
        folder.name
        for folder in _folders(data_dir)
        if any(_versions(path, "") for path in (folder, *_folders(folder)))
    )


def _versions(folder: Path, wanted: str) -> list[Path]:
    found = [path for path in _folders(folder) if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
    prepared = [path for path in found if (path / INFO).is_file() and wanted in ("", path.name)]
    return sorted(prepared, key=lambda path: natural_key(path.name))


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []
