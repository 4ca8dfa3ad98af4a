"""``python -m featcache``, where the command is not on the path."""

from featcache.cli import main

if __name__ == "__main__":
    main()
