"""Whether a path that data names stays inside a folder, where it leads and not only how it is written."""

import os


def is_inside(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Return whether a file, links followed, lies below a folder, links followed.

    What is downloaded may name any path of this machine, and hold links to it. A name that no file system takes is
    not inside. Nothing is opened.

    Parameters
    ----------
    path
        The file, which need not exist.
    folder
        What it must not leave.
    """
    try:
        root, place = os.path.realpath(folder), os.path.realpath(path)
    except (OSError, ValueError):
        return False
    return place.startswith(root.rstrip(os.sep) + os.sep)
