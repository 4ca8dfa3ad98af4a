"""Settings from environment variables: the folder for weights and shared state, and offline mode."""

import os
from pathlib import Path

from featcache.core.disk.names import expanded


def home() -> Path:
    """Return the folder for weights and shared state.

    ``$FEATCACHE_HOME``, else ``$XDG_CACHE_HOME/featcache``, else the platform's own cache folder. Not created
    here.
    """
    if own := os.environ.get("FEATCACHE_HOME"):
        return expanded(own)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return expanded(xdg) / "featcache"
    import platformdirs

    return Path(platformdirs.user_cache_dir("featcache"))


def weights_folder() -> Path:
    """Return the folder in which downloaded weight files are stored and looked up."""
    return home() / "weights"


def offline() -> bool:
    """Return whether ``FEATCACHE_OFFLINE`` forbids the network (``1``, ``true``, ``yes``, ``on``)."""
    return os.environ.get("FEATCACHE_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}
