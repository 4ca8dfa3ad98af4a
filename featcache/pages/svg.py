"""Charts as inline SVG, written by ``templates/charts.html``.

Only numbers and escaped texts reach the SVG. Colours are CSS variables of the page, so that one drawing serves light,
dark and print. What a point says is its ``<title>``: browsers show it without a script, ``page.js`` shows it nicer.
"""

from typing import TYPE_CHECKING, Any

from featcache.pages.chart import Chart
from featcache.pages.drawing import drawing
from featcache.pages.page import environment

if TYPE_CHECKING:
    from markupsafe import Markup


def chart_svg(chart: Chart) -> "Markup":
    """Draw a chart as an ``<svg>`` element for a page of `featcache.pages.page`.

    Parameters
    ----------
    chart
        What it shows.

    Returns
    -------
    markupsafe.Markup
        The element; the same chart gives the same text.

    Raises
    ------
    MissingExtraError
        If the extra ``report`` is not installed.
    """
    macros: Any = environment().get_template("charts.html").module
    return macros.svg(drawing(chart))
