"""Where featcache keeps things, and whether it may use the network."""

import os
from pathlib import Path


def home() -> Path:
    """Folder for weights and shared state.

    ``$FEATCACHE_HOME``, else ``$XDG_CACHE_HOME/featcache``, else the platform's own cache folder. Not created
    here.
    """
    if own := os.environ.get("FEATCACHE_HOME"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser() / "featcache"
    import platformdirs

    return Path(platformdirs.user_cache_dir("featcache"))


def weights_folder() -> Path:
    """Folder that downloaded weight files are kept in and looked for."""
    return home() / "weights"


def offline() -> bool:
    """Whether ``FEATCACHE_OFFLINE`` forbids the network (``1``, ``true``, ``yes``, ``on``)."""
    return os.environ.get("FEATCACHE_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}
