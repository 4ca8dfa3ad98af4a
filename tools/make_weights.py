"""Write docs/reference/weights.md from the records of published weights; ``--check`` only compares.

Command: ``python tools/make_weights.py``
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "weights.md"

HEAD = """# Weights and licences

Made by `python tools/make_weights.py` from the records of the weights. featcache brings no weights of its own: each
file comes from who published it, under the licence given here, which is the one that the source states. Whether that
fits what you do is for you to judge.

What is pinned is all that the publisher gives. Where that is less than a whole sha256, the file's own is recorded when
it is first loaded and fits, and another file of that name is refused from then on:
[how a file is verified](../guide/weights.md). Sizes and accuracies are in [backbones](backbones.md).
"""


def page() -> str:
    """Return the page."""
    from featcache.backbones.registry import families

    known = families()
    lines = [HEAD, *_by_licence([weights for family in known for weights in family.pretrained])]
    return "\n".join([*lines, *(line for family in known for line in _section(family))])


def _by_licence(weights: list[Any]) -> Iterator[str]:
    yield from ("## By licence", "", "| licence | weights | published by |", "| --- | --- | --- |")
    for licence, count in Counter(each.licence for each in weights).most_common():
        # What stands in brackets is the weights' own story, told family by family.
        sources = Counter(_publisher(each) for each in weights if each.licence == licence)
        named = ", ".join(f"{source} ({number})" for source, number in sources.most_common())
        yield f"| {licence} | {count} | {named} |"
    yield ""


def _section(family: Any) -> list[str]:
    return [
        f"## {family.name}",
        "",
        "| weights | licence | published as | file, and what it is pinned by |",
        "| --- | --- | --- | --- |",
        *(_row(weights) for weights in family.pretrained),
        "",
    ]


def _row(weights: Any) -> str:
    name = f"`{weights.name}`"
    return f"| {name} | {weights.licence} | {weights.source} | {_file(weights)}<br>{_pinned(weights.file)} |"


def _publisher(weights: Any) -> str:
    """The framework or place that a file comes from, without what tells one of its files from the others."""
    return re.split(r" \(|, | IMAGENET", weights.source)[0]


def _file(weights: Any) -> str:
    """Where a file is: the page of a repository where there is one, else the file; of a package its name."""
    file = weights.file
    if not hasattr(file, "url"):
        return f"`{file.path.rpartition('/')[2]}` in the package `{file.distribution}`"
    return f"[`{file.filename}`]({file.url.partition('/resolve/')[0]})"


def _pinned(file: Any) -> str:
    if file.sha256 is None and getattr(file, "md5", None) is None:
        return "no hash is published"
    if file.sha256 is None:
        return f"MD5 `{file.md5}`"
    part = "" if len(file.sha256) == 64 else " (its first digits)"
    return f"sha256 `{file.sha256}`{part}"


if __name__ == "__main__":
    made = page()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text("utf-8") != made:
            sys.exit(f"{PAGE} is out of date; run python tools/make_weights.py")
    else:
        PAGE.write_text(made, "utf-8")
