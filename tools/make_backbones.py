"""Write docs/reference/backbones.md from the families' own tables; ``--check`` only compares.

Command: ``python tools/make_backbones.py``
"""

import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "backbones.md"

HEAD = """# Backbones

Made by `python tools/make_backbones.py` from the families' own tables. The first weights of an architecture are what
its bare name means. MACs are multiply-accumulates of one image at the weights' own size (`--image-size` changes it);
top-1 is ImageNet accuracy as the source publishes it. Names are matched whatever their case, `_` and `-`; aliases are
other frameworks' names. `featcache backbones show NAME` lists the stages, any of which can be cached with `--layer`.
"""


def page() -> str:
    """Return the page."""
    from featcache.backbones.registry import families

    return "\n".join([HEAD, *(line for family in families() for line in _section(family))])


def _section(family: Any) -> list[str]:
    aliases = ", ".join(f"`{alias}`" for alias in family.aliases)
    return [
        f"## {family.name}",
        "",
        f"{family.paper}{f' · aliases: {aliases}' if aliases else ''}",
        "",
        "| weights | input | features | parameters | MACs | top-1 | licence | source |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_row(weights) for weights in family.pretrained),
        "",
    ]


def _row(weights: Any) -> str:
    height, width = weights.transforms.input_size
    cells = (
        f"`{weights.name}`",
        str(height) if height == width else f"{height}×{width}",
        str(weights.features),
        f"{weights.params / 1e6:.1f} M",
        f"{weights.macs / 1e9:.2f} G",
        f"{weights.top1:.1f} %" if weights.top1 is not None else "–",
        weights.licence,
        weights.source,
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    made = page()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text("utf-8") != made:
            sys.exit(f"{PAGE} is out of date; run python tools/make_backbones.py")
    else:
        PAGE.write_text(made, "utf-8")
