"""Check that every relative link, anchor and path that the Markdown pages name exists; lists those that do not.

A path in code marks counts where it names a file of this repository (``featcache/images/views.py``), and so does a
page that the code points to (``docs/guide/datasets.md`` in a message). Links to the web are not followed.

Command: ``python tools/check_links.py``
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "docs",
    "data",
    "tests",
    "tools",
    "benchmarks",
    "pipelines",
)  # not a virtual environment beside them

_FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2[`~]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_LINK = re.compile(
    r"\]\(<?([^()\s<>]+(?:\([^()\s]*\))?)>?(?:\s+\"[^\"]*\")?\)|\b(?:href|src|srcset)=\"([^\"]+)\""
)
_HEADING = re.compile(r"^#{1,6} +(.+?)(?: +#+)?$", re.MULTILINE)
_NAMED_ANCHOR = re.compile(r"<a (?:id|name)=\"([^\"]+)\"")
# featcache/data is where a wheel has the photos; a checkout has them in data/.
_PATH = re.compile(r"(?:featcache(?!/data)|tests|tools|benchmarks|pipelines|docs|data|\.ci)/[\w./-]*[\w/]")
_PAGE = re.compile(r"\bdocs/[\w/-]+\.md\b")


def problems(root: Path) -> list[str]:
    """Return a line for each broken link, anchor or path under a folder.

    Parameters
    ----------
    root
        Top folder of the repository.

    Returns
    -------
    list of str
        ``page: what is broken``, in order of the pages; empty where everything is found.
    """
    pages = sorted([*root.glob("*.md"), *(page for name in FOLDERS for page in (root / name).rglob("*.md"))])
    found = [f"{page.relative_to(root)}: {line}" for page in pages for line in _broken(page, root)]
    for module in sorted((root / "featcache").rglob("*.py")):
        named = _PAGE.findall(module.read_text("utf-8"))
        found += [
            f"{module.relative_to(root)}: no page {page}" for page in named if not (root / page).is_file()
        ]
    return found


def anchors(text: str) -> set[str]:
    """Return the anchors of a page: its headings as GitHub spells them, and the ones set by hand.

    Parameters
    ----------
    text
        The Markdown of the page.

    Returns
    -------
    set of str
        Anchors without ``#``; the second heading of the same words ends in ``-1``.
    """
    text = _FENCE.sub("", text)
    seen: Counter[str] = Counter()
    names = set(_NAMED_ANCHOR.findall(text))
    for heading in _HEADING.findall(text):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        names.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return names


def _broken(page: Path, root: Path) -> Iterator[str]:
    prose = _FENCE.sub("", page.read_text("utf-8"))
    for mark in _CODE.finditer(prose):
        path = mark[2].split("#")[0].strip()
        if _PATH.fullmatch(path) and not (root / path).exists():
            yield f"no file {path}"
    for match in _LINK.finditer(_CODE.sub("``", prose)):
        target = match[1] or match[2]
        if not re.match(r"[a-z][a-z+.-]*:", target):
            yield from _broken_link(page, target)


def _broken_link(page: Path, target: str) -> Iterator[str]:
    path, _, anchor = target.partition("#")
    file = page.parent / path if path else page
    if not file.exists():
        yield f"no file {target}"
    elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text("utf-8")):
        yield f"no heading {target}"


if __name__ == "__main__":
    lines = problems(ROOT)
    print("\n".join(lines), end="\n" if lines else "")
    sys.exit(f"{len(lines)} links lead nowhere; correct the pages" if lines else 0)
