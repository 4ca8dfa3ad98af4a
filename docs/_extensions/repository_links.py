"""Sphinx extension: links that are right on GitHub are right on the site.

On GitHub a page links to files beside it, to ``../../pipelines`` and to ``../CONTRIBUTING.md``. On the site the first
are pages, too; a file outside of the sources is the page that includes it (``repository_pages``), or else a link to
the repository (``repository_url``). Where no repository is known, the words stay and lead nowhere.
"""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

_LOG = logging.getLogger(__name__)

_SOURCES = (".md", ".ipynb")
_WEB = re.compile(r"[a-z][a-z0-9+.-]*:|//|#")


class RepositoryLinks(SphinxTransform):
    """Resolve what a page links to and is no page beside it."""

    default_priority = 5  # before anything looks at links or copies images

    def apply(self, **_: Any) -> None:
        """Rewrite links and images of one page."""
        for link in list(self.document.findall(_is_unresolved)):
            self._resolve(link)
        for image in self.document.findall(nodes.image):
            image["uri"] = self._image(image["uri"])

    @property
    def _root(self) -> Path:
        return Path(self.env.srcdir).parent

    def _repository_path(self, target: str) -> str | None:
        """Return the path in the repository that a page means; ``None`` where nothing is there."""
        included = self.config.repository_pages.get(self.env.docname)
        bases = [Path(self.env.doc2path(self.env.docname)).parent]
        # An included page speaks from where it lies.
        bases = [(self._root / included).parent, *bases] if included else bases
        for base in bases:
            path = Path(os.path.normpath(base / target))
            if path.exists() and path.is_relative_to(self._root):
                return path.relative_to(self._root).as_posix()
        return None

    def _is_outside(self, target: str) -> bool:
        """Return whether something is there that is no part of the repository."""
        path = Path(os.path.normpath(Path(self.env.doc2path(self.env.docname)).parent / target))
        return path.exists() and not path.is_relative_to(self._root)

    def _resolve(self, link: nodes.Element) -> None:
        target, anchor = _target(link)
        path = self._repository_path(target) if target else None
        if path is None:
            if target and self._is_outside(target):
                _LOG.warning("link to %s, outside of the repository", target, location=link)
                link.replace_self(link.children)  # sphinx would publish the file
            return  # sphinx says what is missing
        if page := self._page(path):
            link.replace_self(_to_page(link, page, anchor))
        elif url := self.config.repository_url:
            kind = "tree" if (self._root / path).is_dir() else "blob"
            place = f"{url}/{kind}/main/{quote(path)}" + (f"#{anchor}" if anchor else "")
            link.replace_self(nodes.reference("", "", *link.children, refuri=place))
        else:
            link.replace_self(link.children)

    def _page(self, path: str) -> str | None:
        """Return the page of the site that shows a file of the repository."""
        for page, included in self.config.repository_pages.items():
            if path == included:
                return page
        folder = Path(self.env.srcdir).relative_to(self._root)
        inside = Path(path)
        if inside.suffix in _SOURCES and inside.is_relative_to(folder):
            return inside.relative_to(folder).with_suffix("").as_posix()
        return None

    def _image(self, uri: str) -> str:
        """Return an image's address from the page that it is shown on."""
        prefix = f"{self.config.repository_url}/raw/main/"
        if self.config.repository_url and uri.startswith(prefix):
            path = uri.removeprefix(prefix)  # a package index needs it whole, the site has the file
        elif _WEB.match(uri) or (path := self._repository_path(uri)) is None:
            return uri
        return os.path.relpath(self._root / path, Path(self.env.doc2path(self.env.docname)).parent)


def _is_unresolved(node: nodes.Node) -> bool:
    if isinstance(node, addnodes.download_reference):
        return not _WEB.match(node["reftarget"])
    if not isinstance(node, addnodes.pending_xref) or node.get("reftype") != "myst":
        return False
    if node.get("refdomain") == "doc":  # MyST takes any page of Markdown for one of the site
        return os.path.isabs(node["reftarget"])
    return not node["reftarget"].startswith("#")


def _target(link: nodes.Element) -> tuple[str, str]:
    """What a link names, and the anchor in it."""
    if link.get("refdomain") == "doc":
        return f"{link['reftarget']}.md", link.get("reftargetid") or ""
    target, _, anchor = link["reftarget"].partition("#")
    return target, anchor


def _to_page(link: nodes.Element, page: str, anchor: str) -> nodes.Element:
    """A link to a page, for MyST to find its anchor and, where there are no words, its title."""
    return addnodes.pending_xref(
        "",
        *link.children,
        refdomain="doc",
        reftype="myst",
        reftarget=page,
        reftargetid=anchor or None,
        refdoc=link["refdoc"],
        refexplicit=link["refexplicit"],
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the two settings and the transform."""
    app.add_config_value("repository_pages", {}, "env", types=dict)
    app.add_config_value("repository_url", "", "env", types=str)
    app.add_transform(RepositoryLinks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
