"""A section of a report: a finding in words, what it is drawn from, and the numbers behind it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featcache.pages.chart import Chart
from featcache.pages.page import PageSection


@dataclass(frozen=True)
class Section(PageSection):
    """One section of a report; its key is that under ``--json``, too.

    Parameters
    ----------
    template
        File under ``featcache/reports/templates/sections``.
    data
        The numbers behind it: plain JSON values, for ``--json`` and for tests.
    charts
        All its charts, for ``--figures``.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    charts: tuple[Chart, ...] = ()
