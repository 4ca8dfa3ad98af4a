"""The version of featcache, in a module that imports nothing: builds, caches and `featcache --version` read it here."""

__version__ = "0.2.0"
