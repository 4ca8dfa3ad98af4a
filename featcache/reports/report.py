"""`report`: one page about a classifier, a sweep, a cache, a fine-tuning run, or records of experiments."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from featcache.core.argument_types import checked_types, require_seed, spelled
from featcache.core.disk.files import make_folder
from featcache.core.disk.names import FILE, kind_of, read_file, require_free
from featcache.core.disk.storage import storage_errors
from featcache.core.display import counted, html_table
from featcache.core.documents.json_text import plain
from featcache.core.progress import OnProgress, Progress
from featcache.datasets import Dataset
from featcache.errors import MissingExtraError, UsageError
from featcache.pages.written_file import ANOTHER_FILE, written
from featcache.reports.opening import kinds_of, open_material
from featcache.reports.section import Section
from featcache.reports.summary import Summary, summarised
from featcache.reports.wishes import Wishes

if TYPE_CHECKING:
    from featcache.auditing.audit import Audit
    from featcache.reports.material import Material

JSON_VERSION = 1
GENERATOR = "featcache report"
"""By this, a page of ours is told from any other, which is not overwritten."""

MAPS = ("pca", "tsne")
PICTURES = 3000
"""Most pictures on a page."""

SECTIONS = (
    "records:sections",
    "compared:section",
    "data:section",
    "audit:sections",
    "recipe:section",
    "leaderboard:section",
    "axes:section",
    "few_shot:section",
    "cost:section",
    "curves:section",
    "confusion:section",
    "per_class:section",
    "calibration:section",
    "predictions:section",
    "multilabel:section",
    "regression:section",
    "feature_map:section",
)
"""The sections of a page in their order, as module and function: `featcache.reports.sections`."""


@dataclass(frozen=True, repr=False)
class Report:
    """A page, and what it is made of.

    Parameters
    ----------
    material
        What was shown.
    summary
        What the page is about, in words and numbers.
    sections
        Its sections, in their order.
    path
        The file that it was written to; ``None`` before `write`.
    """

    material: "Material"
    summary: Summary
    sections: tuple[Section, ...]
    path: Path | None = None
    _html: str = field(default="", repr=False)

    def __repr__(self) -> str:
        place = "" if self.path is None else f"{str(self.path)!r}, "
        return (
            f"Report({place}{self.summary.headline}; {', '.join(section.key for section in self.sections)})"
        )

    def _repr_html_(self) -> str:
        rows = [(each.title, each.headline) for each in self.sections]
        return html_table(self.summary.title, rows, note=self.summary.headline)

    @property
    def html(self) -> str:
        """The whole page, which needs no network and no other file."""
        return self._html

    @checked_types()
    def write(self, output: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the page to a file, at once or not at all; an earlier report there is replaced.

        Parameters
        ----------
        output
            The file; its folder is there.
        overwrite
            Whether to replace a file that is no report, too.

        Raises
        ------
        UsageError
            If something else is there.
        StorageError
            If it cannot be written.
        """
        path = Path(output)
        require_writable(path, overwrite=overwrite)
        content = self.html.encode("utf-8", "replace")  # file names that are not UTF-8 hold lone surrogates
        written(content, path)
        return path

    @checked_types()
    def figures(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write every chart of the page as SVG and PNG; returns the files.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        StorageError
            If they cannot be written.
        """
        from featcache.pages.figures import save

        place = Path(folder)
        with storage_errors(place, elsewhere="name another folder"):
            make_folder(place, elsewhere="name another folder")
        return [path for section in self.sections for chart in section.charts for path in save(chart, place)]

    def to_json(self) -> dict[str, Any]:
        """Return the numbers behind the page as plain JSON values: those of each section by its key."""
        return plain(
            {
                "version": JSON_VERSION,
                "path": self.material.path,
                "summary": self.summary.to_json(),
                "moved": self.material.moved,
                "notes": self.material.notes,
                "sections": {each.key: {"headline": each.headline, **each.data} for each in self.sections},
            }
        )


@checked_types()
def report(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    photos: str | os.PathLike[str] | Dataset | None = None,
    cache: str | os.PathLike[str] | None = None,
    split: str | None = None,
    map: Literal["pca", "tsne"] = "pca",
    audit: "str | os.PathLike[str] | Audit | None" = None,
    pictures: int = PICTURES,
    seed: int = 0,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> Report:
    """Make one page about a classifier, a sweep, a cache, a fine-tuning run, or records of experiments.

    The page is a single file that needs no network: charts are inline SVG, pictures are small and embedded.

    Parameters
    ----------
    path
        The folder of a classifier, of a sweep or of a fine-tuning run, or a cache's file; or several classifiers,
        sweeps and runs, which are compared: the first is shown in full. Or records, the JSON files that the scripts of
        ``pipelines/`` write, or a folder of them, which are shown as a table with a section for each.
    output
        Write the page to this file, as `Report.write` does.
    photos
        The photos (a dataset or its spec), where they are not any more where they were when their features were
        extracted. A classifier whose cache is gone is scored on them.
    cache
        A cache to score the classifier on, in the place of the one that it was trained on.
    split
        The rows to score it on: a split, or a slice of one; by default its test rows (see
        `featcache.classifier.classifier.Classifier.evaluate`).
    map
        How the map of the features is made: by principal components, or by t-SNE, which needs openTSNE.
    audit
        What an audit of the photos found, shown as photos: the file that ``featcache audit CACHE --json`` was written
        to, the result of `featcache.audit`, or ``"run"`` to audit the cache now.
    pictures
        Most pictures on the page; 0 for none.
    seed
        Which pictures are shown where there are too many for all.
    overwrite
        Whether to replace a file at `output` that is no report.
    on_progress
        Called with a `featcache.core.progress.Progress` after each section.

    Returns
    -------
    Report
        With the page as `Report.html`.

    Raises
    ------
    MissingExtraError
        If the extra ``report`` is not installed.
    DataError
        If a path is something else, or nothing.
    UsageError
        If an argument has an invalid value, or another file is at `output`.

    Examples
    --------
    >>> page = featcache.report("photos-mobilenet_v2-linear", "report.html")  # doctest: +SKIP
    """
    require_extra()
    if map not in MAPS:
        raise UsageError(f"{spelled('map')} {map!r}: expected {' or '.join(MAPS)}")
    if pictures < 0:
        raise UsageError(f"{spelled('pictures')} {pictures}: expected 0 or more")
    require_seed(seed)
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    kinds_of([Path(each) for each in paths])
    if output is not None:
        require_writable(Path(output), overwrite=overwrite)
    wishes = Wishes(
        cache=cache,
        photos=photos,
        split=split,
        pictures=pictures,
        seed=seed,
        tsne=map == "tsne",
        audit=audit,
        on_progress=on_progress,
    )
    made = make_report(open_material(paths, wishes), on_progress=on_progress)
    if output is None:
        return made
    written = made.write(output, overwrite=overwrite)
    return Report(made.material, made.summary, made.sections, written, made.html)


def make_report(material: "Material", *, on_progress: OnProgress | None = None) -> Report:
    """Make the page about what has been opened."""
    from featcache.pages.page import render

    makers = [_maker(name) for name in SECTIONS]
    progress = Progress("report", total=len(makers) + 1)
    sections: list[Section] = []
    for maker in makers:
        found = maker(material)
        if found is not None:
            sections += found if isinstance(found, tuple) else (found,)
        progress.done += 1
        if on_progress is not None:
            on_progress(progress)
    if told := _unread(material):
        material = replace(material, moved=" ".join(filter(None, [material.moved, told])))
    summary = summarised(material)
    page = render(
        "page.html",
        packages=("featcache.reports",),
        title=summary.title,
        headline=summary.headline,
        stats=[(fact.value, fact.name, fact.note) for fact in summary.facts],
        notes=[*material.notes, *filter(None, [material.moved])],
        sections=[replace(each, template=f"sections/{each.template}") for each in sections],
        sheets=material.sprites.sheets(),
        generator=GENERATOR,
    )
    return Report(material, summary, tuple(sections), None, page)


def _unread(material: "Material") -> str:
    """Say of how many photos that are there no picture can be shown, and why of the first."""
    there = {record.id for record in material.dataset.records} if material.dataset else set()
    lost = [(name, why) for name, why in material.sprites.unread.items() if name in there]
    if not lost:
        return ""
    return f"{counted(len(lost), 'photo')} without a picture, the first is {lost[0][0]}: {lost[0][1].splitlines()[0]}."


def _maker(name: str) -> "Callable[[Material], Section | tuple[Section, ...] | None]":
    """Return the function that makes a section, or several; its module is imported when it is wanted."""
    module, _, function = name.partition(":")
    return getattr(import_module(f"featcache.reports.sections.{module}"), function)


def require_writable(path: Path, *, overwrite: bool = False) -> None:
    """Raise `UsageError` if something is at a path that a page must not replace."""
    require_free(path, FILE, elsewhere=ANOTHER_FILE)
    if overwrite or kind_of(path) != FILE:
        return
    with storage_errors(path, "look into", elsewhere=ANOTHER_FILE):
        start = read_file(path, 4096)
    if start and GENERATOR.encode() not in start:
        raise UsageError(
            f"{path} is there and no report of featcache; {ANOTHER_FILE}, or replace it with --overwrite"
        )


def require_extra() -> None:
    """Raise `MissingExtraError` if what pages are made with is not installed."""
    for name in ("jinja2", "markupsafe"):
        if find_spec(name) is None:
            raise MissingExtraError(
                f"a report needs {name}, which is not installed: pip install 'featcache[report]'"
            )
