"""A section of a report: a finding in words, what it is drawn from, and the numbers behind it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featcache.pages.chart import Chart


@dataclass(frozen=True)
class Section:
    """One section of a page.

    Parameters
    ----------
    key
        Its anchor, and its key under ``--json``.
    title
        What it is about, one or two words, for the table of contents.
    headline
        The finding, in words: "97.8 % right; cat is taken for dog most often". Plain text; templates escape it.
    template
        File under ``featcache/report/templates/sections``; it finds `content` by its names, `section`, and the
        macros of ``featcache/pages/templates``.
    content
        What the template shows: charts, pictures, tables, records.
    data
        The numbers behind it: plain JSON values, for ``--json`` and for tests.
    charts
        All its charts, for ``--figures``.
    """

    key: str
    title: str
    headline: str
    template: str
    content: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    charts: tuple[Chart, ...] = ()
