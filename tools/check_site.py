"""Check that the pages of the built site fetch nothing from elsewhere, and are all found from the first one.

What a browser fetches by itself counts: styles, scripts, pictures, fonts, frames, and what a style sheet imports. Links
that a reader may follow do not; whether they lead somewhere is lychee's work (see ``.ci/site``).

Command: ``python tools/check_site.py build/site``
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

_FETCHED = {
    "audio": ("src",),
    "base": ("href",),
    "body": ("background",),
    "embed": ("src",),
    "frame": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src", "srcset"),
    "input": ("src",),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
# What a link of the head names and a browser does not fetch.
_NAMED_ONLY = {"author", "canonical", "help", "index", "license", "next", "prev", "search"}
_ELSEWHERE = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_STYLED = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)
# A page of its own, without a link to it: the search opens it.
_UNLINKED = {"search.html"}


class _Page(HTMLParser):
    """What one page fetches, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: set[str] = set()
        self.styles: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the addresses of one tag."""
        given = {name: value or "" for name, value in attrs}
        self._in_style = tag == "style"
        self.styles.append(given.get("style", ""))
        if tag == "a" and "href" in given:
            self.links.add(unquote(urldefrag(given["href"])[0].partition("?")[0]))
        if tag == "link" and _NAMED_ONLY & set(given.get("rel", "").lower().split()):
            return
        for name in _FETCHED.get(tag, ()):
            # A srcset holds several, each with a width or a density behind it.
            for address in given.get(name, "").split(",") if name == "srcset" else [given.get(name, "")]:
                self.fetched.append(address.strip())

    def handle_data(self, data: str) -> None:
        """Note what a style within the page says."""
        if self._in_style:
            self.styles.append(data)

    def handle_endtag(self, tag: str) -> None:
        """A style ends."""
        self._in_style = self._in_style and tag != "style"


def problems(site: Path) -> list[str]:
    """Return a line for each thing that a page fetches from elsewhere, and for each page that no link leads to.

    Parameters
    ----------
    site
        Folder of the built site, with ``index.html``.

    Returns
    -------
    list of str
        ``page: what is wrong``, in order of the files; empty where all is well.
    """
    if not (site / "index.html").is_file():
        return [f"{site}: no index.html; build it with sphinx-build docs {site}"]
    pages = {path: _read(path) for path in sorted(site.rglob("*.html"))}
    found = [f"{path.relative_to(site)}: {line}" for path, page in pages.items() for line in _foreign(page)]
    for sheet in sorted(site.rglob("*.css")):
        text = sheet.read_text("utf-8", errors="replace")
        found += [f"{sheet.relative_to(site)}: fetches {address}" for address in _STYLED.findall(text)]
    unseen = {path.relative_to(site).as_posix() for path in pages} - _reached(site, pages) - _UNLINKED
    return found + [f"{name}: no link leads here from index.html" for name in sorted(unseen)]


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text("utf-8", errors="replace"))
    return page


def _foreign(page: _Page) -> Iterator[str]:
    yield from (f"fetches {address}" for address in page.fetched if _ELSEWHERE.match(address))
    yield from (f"fetches {address}" for style in page.styles for address in _STYLED.findall(style))


def _reached(site: Path, pages: dict[Path, _Page]) -> set[str]:
    """Return the names of the pages that one comes to from the first by following links."""
    start = (site / "index.html").resolve()
    known = {path.resolve(): page for path, page in pages.items()}
    seen, waiting = {start}, [start]
    while waiting:
        here = waiting.pop()
        targets = {(here.parent / link).resolve() for link in known[here].links if link and "\0" not in link}
        targets |= {target / "index.html" for target in targets}  # what a folder's name opens
        new = (targets & known.keys()) - seen
        seen |= new
        waiting += new
    return {path.relative_to(site.resolve()).as_posix() for path in seen}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("which site? python tools/check_site.py build/site")
    lines = problems(Path(sys.argv[1]))
    print("\n".join(lines), end="\n" if lines else "")
    sys.exit(f"{len(lines)} faults in the built site" if lines else 0)
