"""``python -m tests.soak``; see `soak.run`."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from soak.run import main  # noqa: E402

sys.exit(main())
