"""The photos that come with featcache: nine textures."""

from pathlib import Path

from featcache.errors import MissingFileError


def demo_dataset() -> Path:
    """Return the folder of the textures: in the package if installed from a wheel, beside it in a checkout.

    Raises
    ------
    MissingFileError
        If neither exists.
    """
    package = Path(__file__).resolve().parents[1]
    installed, checkout = (parent / "data" / "textures" for parent in (package, package.parent))
    for folder in (installed, checkout):
        if folder.is_dir():
            return folder
    raise MissingFileError(
        f"the demo's photos are neither at {installed} nor at {checkout}, so this installation is incomplete; "
        "install featcache again, or run featcache extract on photos of your own"
    )
