"""Values by epoch, as arrays."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.display import data_frame

if TYPE_CHECKING:
    import pandas


class History(Mapping[str, np.ndarray]):
    """Names to values, float64 ``[epochs]``; NaN where there is none.

    Parameters
    ----------
    columns
        Name to a value for each epoch, ``None`` where it was not finite.
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = {name: np.array(values, np.float64) for name, values in columns.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        epochs = max(map(len, self._columns.values()), default=0)
        return f"History({epochs} epochs of {', '.join(self._columns) or 'nothing'})"

    def to_frame(self) -> "pandas.DataFrame":
        """Return it as a data frame with a row for each epoch, from 1; needs pandas."""
        frame = data_frame(self._columns)
        frame.index = frame.index + 1
        return frame.rename_axis(index="epoch")
