"""A figure that shows itself in a notebook; importing this needs matplotlib, but never pyplot."""

import io

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A figure outside of pyplot, which no window and no inline backend knows of: it gives its own picture."""

    def _repr_png_(self) -> bytes:
        written = io.BytesIO()
        self.savefig(written, format="png")
        return written.getvalue()
