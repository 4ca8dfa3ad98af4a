"""Templates to one self-contained page: everything of the data is escaped, nothing is fetched, no script is needed.

Scripts are the ``*.js`` files of the template packages and nothing else: the page's security policy holds their
hashes, so that a text of the data could not run even if it came into the page unescaped.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from featcache.core.display import escaped, percent, percents
from featcache.errors import MissingExtraError
from featcache.pages.palette import DARK, LIGHT

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_OWN = "featcache.pages"


@dataclass(frozen=True)
class PageSection:
    """A section of a page, as `render` takes it.

    Parameters
    ----------
    key
        Its anchor.
    title
        What it is about, one or two words, for the table of contents; no other section of the page has it.
    headline
        The finding, in words: "97.8 % right; cat is taken for dog most often". Plain text; templates escape it.
    template
        Its template, which finds `content` by its names, `section`, and the macros of ``featcache/pages/templates``.
    content
        What the template shows: charts, pictures, tables, records.
    """

    key: str
    title: str
    headline: str
    template: str
    content: Mapping[str, Any] = field(default_factory=dict)


@lru_cache(maxsize=8)
def environment(*template_packages: str) -> "Environment":
    """Return the environment of templates, with autoescape on, for the given packages and the macros of this one.

    Parameters
    ----------
    template_packages
        Packages whose folder ``templates`` is looked into first, such as ``featcache.reports``.

    Returns
    -------
    jinja2.Environment
        With the filters ``percent``, ``percents``, ``number``, ``together`` and ``name_parts``, and the functions
        ``script``, ``style`` and ``section_body``; charts are drawn by the macros of ``parts.html``. Texts are printed
        by `featcache.core.display.escaped`: control characters and what turns the direction of writing are shown as
        escapes.

    Raises
    ------
    MissingExtraError
        If the extra ``report`` is not installed.
    """
    try:
        from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError(
            "pages need jinja2, which is not installed; pip install 'featcache[report]'"
        ) from error
    from featcache.pages import drawing, ticks

    made = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*template_packages, _OWN)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":")}  # of 10,000 points each space is 10 kB
    made.filters.update(
        together=_together,
        name_parts=_name_parts,
        percent=percent,
        percents=lambda ends: percents(*ends),
        number=ticks.number_text,
    )
    made.globals.update(
        drawing_of=drawing.drawing,
        legend=drawing.legend,
        narrow=drawing.narrow,
        chart_values=drawing.values,
        sort_value=_sort_value,
        cell_text=_cell_text,
        nameless=ticks.NAMELESS,
        light=LIGHT,
        dark=DARK,
        script=lambda name: _file(made, name, "script"),
        style=lambda name: _file(made, name, "style"),
        section_body=lambda section: _section_body(made, section),
    )
    return made


def render(template: str, *, packages: Sequence[str] = (), **content: Any) -> str:
    """Return a page.

    Parameters
    ----------
    template
        Its template, such as ``page.html``. That one takes `title`, `headline` (a sentence), `sections`
        (`PageSection` each), and may take `stats` (number, name and note each),
        `facts` (names and values), `generator` (what made it), `sheets` (of
        `Sprites.sheets`), `notes` (sentences), `scripts` (names of further ``*.js`` files) and `footer`.
    packages
        Packages with further templates, such as ``featcache.reports``.
    content
        What the template shows.

    Raises
    ------
    MissingExtraError
        If the extra ``report`` is not installed.
    """
    made = environment(*packages)
    text = made.get_template(template).render(policy=_policy(made), **content)
    # File names that are not UTF-8 hold lone surrogates; `escaped` shows those of texts, this is for whatever else.
    return text.encode("utf-8", "replace").decode("utf-8")


def _shown(value: Any) -> Any:
    """Return what is printed for a value: plain texts with everything visible, before they are escaped for HTML."""
    return escaped(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _together(text: str) -> "Markup":
    """Return a headline, escaped, whose percent signs stay on the line of their numbers."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"\S*\d %", r'<span class="whole">\g<0></span>', str(escape(_shown(text)))))


def _name_parts(name: str) -> list[str]:
    """Return what a file's name is made of, each part with the sign that ends it."""
    return re.findall(r"[^/_-]*[/_-]|[^/_-]+", escaped(name))


def _source(made: "Environment", name: str) -> str:
    assert made.loader is not None
    return made.loader.get_source(made, name)[0]


def _file(made: "Environment", name: str, tag: str) -> "Markup":
    """Return a file of the packages, as it is, in its element."""
    from markupsafe import Markup

    return Markup(f"<{tag}>{_source(made, name)}</{tag}>")


def _policy(made: "Environment") -> str:
    """Return the content security policy: no request at all, and only the scripts of the packages."""
    names = made.list_templates(extensions=["js"])
    hashes = [
        base64.b64encode(hashlib.sha256(_source(made, name).encode()).digest()).decode() for name in names
    ]
    scripts = " ".join(f"'sha256-{value}'" for value in hashes)
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {scripts}"


def _section_body(made: "Environment", section: Any) -> "Markup":
    """Return what the template of a section shows, which sees its content by its names."""
    from markupsafe import Markup

    text = made.get_template(section.template).render(section=section, **section.content)
    return Markup(text)


def _sort_value(cell: Any) -> Any:
    """Return what a cell of a table is sorted by: its number, or its text."""
    if isinstance(cell, Mapping):
        return cell.get("value", cell.get("text", ""))
    return "" if cell is None else cell


def _cell_text(cell: Any, kind: str) -> Any:
    """Return what a cell of a table shows."""
    from featcache.pages.ticks import number_text

    if isinstance(cell, Mapping):
        return cell["text"] if "text" in cell else _cell_text(cell.get("value"), kind)
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return number_text(float(cell), "percent" if kind == "percent" else "")
