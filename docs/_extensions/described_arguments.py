"""Sphinx extension: lists of the Python reference, ``- `name` (`type`): text``, as definition lists.

GitHub has no definition lists in Markdown; a site has, and names can be found in them at a glance.
"""

from itertools import pairwise
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class DescribedArguments(SphinxTransform):
    """Turn each list whose items all begin with a name in code marks into definitions."""

    default_priority = 800  # after links are resolved within the page

    def apply(self, **_: Any) -> None:
        """Rewrite the lists of one page."""
        if self.env.docname not in self.config.described_pages:
            return
        for listed in list(self.document.findall(nodes.bullet_list)):
            items = [_definition(item) for item in listed.findall(nodes.list_item) if item.parent is listed]
            if items and None not in items:
                listed.replace_self(nodes.definition_list("", *items, classes=["arguments"]))


def _definition(item: nodes.list_item) -> nodes.definition_list_item | None:
    """An item as a term and its definition; ``None`` where it does not begin with a name."""
    first = item.children[0] if item.children else None
    if not isinstance(first, nodes.paragraph) or not first.astext():
        return None
    heading, text = _divided(first.children)
    if not any(isinstance(node, nodes.literal | nodes.reference) for node in heading[:1]):
        return None
    for before, node in pairwise(heading):
        if isinstance(node, nodes.literal) and before.astext().endswith("("):
            node["classes"].append("type")
    term = nodes.term("", "", *heading)
    rest = [nodes.paragraph("", "", *text)] if text else []
    return nodes.definition_list_item("", term, nodes.definition("", *rest, *item.children[1:]))


def _divided(children: list[nodes.Node]) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """Divide what stands in the first line, without its colon, from what follows."""
    for at, node in enumerate(children):
        line, newline, following = node.astext().partition("\n")
        if isinstance(node, nodes.Text) and newline:
            heading = [*children[:at], nodes.Text(line)]
            return _without_colon(heading), [nodes.Text(following), *children[at + 1 :]]
    return _without_colon(children), []


def _without_colon(heading: list[nodes.Node]) -> list[nodes.Node]:
    while heading and isinstance(heading[-1], nodes.Text):
        text = heading[-1].astext().rstrip().removesuffix(":")
        if text:
            return [*heading[:-1], nodes.Text(text)]
        heading = heading[:-1]
    return heading


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the setting and the transform."""
    app.add_config_value("described_pages", [], "env", types=list)
    app.add_transform(DescribedArguments)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
