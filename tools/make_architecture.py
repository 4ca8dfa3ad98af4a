"""Draw docs/architecture.svg, the packages as a house of floors, from the imports in the code; ``--check`` compares.

Command: ``python tools/make_architecture.py``

The floor of a package is one above the highest that it imports. What everything may import, ``core`` and ``errors``,
is the ground; the command line is the roof. An arrow that follows from others is left out.
"""

import ast
import itertools
import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from import_graph import imports, package_of

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"

GROUND = ("core", "errors")
ROOF = ("cli", "__init__")

# Outline, filling, and what the colour stands for.
COLOURS = {
    "photos": ("#0f766e", "#e3f4f1", "photos to features"),
    "features": ("#b45309", "#fdf0dc", "features to scores"),
    "both": ("#6d28d9", "#f0eafc", "photos to scores"),
    "face": ("#1e3a5f", "#e4ecf6", "what people use"),
    "ground": ("#475569", "#eef1f5", "what every package may use"),
}
WING = {
    **dict.fromkeys(("images", "splits", "datasets", "cache", "backbones", "extraction"), "photos"),
    **dict.fromkeys(("metrics", "heads", "solvers"), "features"),
    **dict.fromkeys(("checks", "classifier", "estimators", "sweeps", "finetuning"), "both"),
    **dict.fromkeys(ROOF, "face"),
    **dict.fromkeys(GROUND, "ground"),
}

WIDTH = 1240.0
SIDE = 50.0  # from the edge of the picture to the walls
BOX = (222.0, 112.0)  # as wide at most
STEP = 190.0  # from floor to floor
TOP = 256.0  # of the highest floor's boxes
SLAB = 58.0
THIN = 0.16  # room for an arrow that passes a floor, in boxes

SANS = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

Edges = Mapping[str, set[str]]


@dataclass(frozen=True)
class Box:
    """Where a package stands: its centre, and the top, width and height in pixels."""

    name: str
    x: float
    top: float
    width: float = BOX[0]
    height: float = BOX[1]

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.top + self.height


# What is drawn ----------------------------------------------------------------------------------------------


def package_imports(folder: Path) -> dict[str, set[str]]:
    """Return which packages each package imports when the program runs, the ground left out.

    The package's own face counts with what it imports later, which it names for annotations.
    """
    edges: dict[str, set[str]] = defaultdict(set)
    for found in imports(folder):
        source, target = package_of(found.source), package_of(found.target)
        edges[target] |= set()
        if source != target and (source == "__init__" or not found.typing_only):
            edges[source].add(target)
    hidden = {*GROUND, "__main__"}
    return {name: targets - hidden for name, targets in sorted(edges.items()) if name not in hidden}


def essential(edges: Edges) -> dict[str, set[str]]:
    """Return the edges that do not follow from others (the transitive reduction of a graph without circles)."""

    @cache
    def below(name: str) -> frozenset[str]:
        return frozenset(edges[name]).union(*(below(target) for target in edges[name]))

    return {
        name: {one for one in targets if not any(one in below(other) for other in targets)}
        for name, targets in edges.items()
    }


def floors(edges: Edges) -> list[list[str]]:
    """Return the packages floor by floor, lowest first and the roof last; each just above the highest it imports."""

    @cache
    def level(name: str) -> int:
        return 1 + max((level(target) for target in edges[name]), default=-1)

    rows: dict[int, list[str]] = defaultdict(list)
    for name in sorted(edges):
        if name not in ROOF:
            rows[level(name)].append(name)
    return [*(rows[number] for number in sorted(rows)), [*ROOF]]


def purpose(package: str) -> str:
    """Return the first sentence of a package's docstring, up to a semicolon, without marks."""
    path = (
        ROOT
        / "featcache"
        / (f"{package}.py" if package in ("errors", "__init__") else f"{package}/__init__.py")
    )
    text = " ".join((ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\w)\.(?= |$)|;", text.replace("`", ""))[0]


def parts(package: str) -> list[str]:
    """Return the names of the packages inside a package."""
    return sorted(face.parent.name for face in (ROOT / "featcache" / package).glob("*/__init__.py"))


# Where it stands --------------------------------------------------------------------------------------------


def with_passages(
    rows: Sequence[Sequence[str]], edges: Edges
) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """Return the floors, with a place for each arrow that passes one, and the arrows cut at these places."""
    height = {name: number for number, row in enumerate(rows) for name in row}
    widened, cut = [list(row) for row in rows], []
    for source in sorted(height):
        for target in sorted(edges[source]):
            stops = [source]
            for number in range(height[source] - 1, height[target], -1):
                stops.append(f"{source}>{target}@{number}")
                widened[number].append(stops[-1])
            cut += itertools.pairwise([*stops, target])
    return widened, cut


def arranged(rows: Sequence[Sequence[str]], arrows: Sequence[tuple[str, str]]) -> list[dict[str, float]]:
    """Return the centre of each place on each floor, such that arrows cross rarely and are short.

    From the alphabet's order, two places of a floor are exchanged as long as that makes the picture better.
    """
    orders = [sorted(row) for row in rows]
    best = _cost(orders, arrows)
    better = True
    while better:
        better = False
        for row in orders:
            for i, j in itertools.combinations(range(len(row)), 2):
                row[i], row[j] = row[j], row[i]
                if (cost := _cost(orders, arrows)) < best:
                    best, better = cost, True
                else:
                    row[i], row[j] = row[j], row[i]
    return [_centres(row) for row in orders]


def _unit(order: Sequence[str]) -> float:
    """Room for a box on a floor, in pixels."""
    return (WIDTH - 2 * SIDE) / sum(_weights(order))


def _weights(order: Sequence[str]) -> list[float]:
    return [THIN if ">" in name else 1.0 for name in order]


def _centres(order: Sequence[str]) -> dict[str, float]:
    weights, unit = _weights(order), _unit(order)
    ends = list(itertools.accumulate(weights))
    return {name: SIDE + unit * (end - w / 2) for name, w, end in zip(order, weights, ends, strict=True)}


def _cost(orders: Sequence[Sequence[str]], arrows: Sequence[tuple[str, str]]) -> float:
    """Crossings between neighbouring floors, and, among orders with as many, the squares of the arrows' slopes."""
    cost = 0.0
    for upper, lower in itertools.pairwise([_centres(row) for row in reversed(orders)]):
        lines = [(upper[a], lower[b]) for a, b in arrows if a in upper and b in lower]
        cost += 1e5 * sum((a - c) * (b - d) < 0 for (a, b), (c, d) in itertools.combinations(lines, 2))
        cost += sum((a - b) ** 2 for a, b in lines) / WIDTH
    return cost


# How it looks -----------------------------------------------------------------------------------------------


def picture() -> str:
    """Return the picture."""
    edges = essential(package_imports(ROOT / "featcache"))
    rows, arrows = with_passages(floors(edges), edges)
    boxes = {}
    for number, centres in enumerate(arranged(rows, arrows)):
        top = TOP + STEP * (len(rows) - 2 - number)
        wide = min(BOX[0], _unit([*centres]) - 12)
        boxes |= {name: Box(name, x, top, 0.0 if ">" in name else wide) for name, x in centres.items()}
    for name, shift in zip(sorted(ROOF, key=lambda name: boxes[name].x), (-130.0, 130.0), strict=True):
        boxes[name] = Box(name, WIDTH / 2 + shift, 106.0, 236.0, 94.0)
    ground = TOP + STEP * (len(rows) - 1) - 36
    slabs = [
        Box(name, WIDTH / 2, ground + (SLAB + 7) * number, WIDTH - 2 * SIDE + 24 + 28 * number, SLAB)
        for number, name in enumerate(GROUND)
    ]
    height = slabs[-1].bottom + 84
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" role="img"'
            f' font-family="{SANS}">',
            "<title>The packages of featcache: each imports only from floors below its own</title>",
            f'<rect width="{WIDTH:g}" height="{height:g}" rx="14" fill="#ffffff"/>',
            *_walls(ground),
            *_arrows(boxes, arrows),
            *(line for box in boxes.values() if box.width for line in _room(box)),
            *(line for box in slabs for line in _slab(box)),
            *_legend(slabs[-1].bottom + 34),
            "</svg>",
            "",
        ]
    )


def _walls(ground: float) -> Iterator[str]:
    left, right, eaves = SIDE - 12, WIDTH - SIDE + 12, 216
    yield (
        f'<path d="M{left:g} {ground:g} V{eaves} H{left - 22:g} L{WIDTH / 2:g} 22 L{right + 22:g} {eaves} H{right:g}'
        f' V{ground:g} Z" fill="#f8fafc" stroke="#cbd5e1" stroke-width="2" stroke-linejoin="round"/>'
    )
    yield _text(WIDTH / 2, 84, "featcache", 26, weight=700, fill=COLOURS["face"][0])


def _room(box: Box) -> Iterator[str]:
    line, filling, _ = COLOURS[WING.get(box.name, "both")]
    yield _rectangle(box, line, filling)
    face = box.name == "__init__"
    inner = parts(box.name) if box.name not in ROOF else []
    words = "The public names, each imported when it is first used" if face else purpose(box.name)
    lines = _wrapped(words, min(33, int(box.width / 6.6)))
    y = box.top + (box.height - 9 * bool(inner) - 15 * len(lines) - 22) / 2 + 16
    yield _text(box.x, y, "import featcache" if face else box.name, 16, weight=700, fill=line, family=MONO)
    for number, words in enumerate(lines):
        yield _text(box.x, y + 20 + 15 * number, words, 12)
    if inner:
        yield from _tab(box, inner, line)


def _wrapped(words: str, width: int) -> list[str]:
    """Lines of about the same length, as few as fit."""
    lines = textwrap.wrap(words, width)
    return next(found for w in range(1, width + 1) if len(found := textwrap.wrap(words, w)) <= len(lines))


def _tab(box: Box, inner: Sequence[str], colour: str) -> Iterator[str]:
    """What a package holds inside, on the lower edge of its box."""
    lines = _tab_lines(inner)
    wide = 6.7 * max(map(len, lines)) + 18
    tab = Box(box.name, box.x, box.bottom - 9, wide, 4 + 14 * len(lines))
    yield _rectangle(tab, colour, "#ffffff", radius=9)
    for number, words in enumerate(lines):
        yield _text(tab.x, tab.top + 12.8 + 14 * number, words, 11, fill=colour, family=MONO)


def _tab_lines(inner: Sequence[str]) -> list[str]:
    """Names side by side, in as many lines as a box is wide for."""
    return textwrap.wrap(" · ".join(inner), 31) if inner else []


def _slab(box: Box) -> Iterator[str]:
    line, filling, _ = COLOURS["ground"]
    yield _rectangle(box, line, filling)
    yield _text(box.x, box.top + 24, box.name, 16, weight=700, fill=line, family=MONO)
    yield _text(box.x, box.top + 44, purpose(box.name), 12)


def _arrows(boxes: Mapping[str, Box], arrows: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Each arrow as a curve from the lower edge of what imports to the upper edge of what is imported."""
    leaving: dict[str, list[str]] = defaultdict(list)
    entering: dict[str, list[str]] = defaultdict(list)
    for source, target in arrows:
        leaving[source].append(target)
        entering[target].append(source)
    for source, target in arrows:
        start, end = boxes[source], boxes[target]
        x1 = _port(start, target, leaving[source], boxes)
        x2 = _port(end, source, entering[target], boxes)
        held = _tab_lines(parts(source)) if start.width and source not in ROOF else []
        y1 = start.bottom + (14 * len(held) - 5 if held else 0)
        passing = ">" in target
        y2 = end.top - (0 if passing else 9)
        bend = (y2 - y1) * 0.55
        importing = source.partition(">")[0]
        colour = COLOURS[WING.get(importing, "both")][0]
        later = ' stroke-dasharray="5 4"' if importing == "__init__" else ""
        curve = f"M{x1:.1f} {y1:g} C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:g}"
        curve += f" V{end.bottom:g}" if passing else ""
        yield f'<path d="{curve}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-opacity="0.75"{later}/>'
        if not passing:
            head = f"M{x2 - 5:.1f} {y2 - 1:g} h10 L{x2:.1f} {end.top - 1:g} Z"
            yield f'<path d="{head}" fill="{colour}"/>'


def _port(box: Box, other: str, others: Sequence[str], boxes: Mapping[str, Box]) -> float:
    """Where on its edge a box is left or entered: side by side, in the order of the other ends."""
    order = sorted(others, key=lambda name: boxes[name].x)
    return box.x + box.width * 0.7 * ((order.index(other) + 0.5) / len(order) - 0.5)


def _legend(y: float) -> Iterator[str]:
    x = SIDE
    for line, filling, words in COLOURS.values():
        yield _rectangle(Box("", x + 8, y - 11, 16, 14), line, filling, radius=3)
        yield _text(x + 24, y, words, 12, anchor="start", fill="#334155")
        x += 64 + 6.6 * len(words)
    told = "An arrow means: imports. Dashed: when first used. What follows from other arrows is left out."
    yield _text(SIDE, y + 24, told, 12, anchor="start", fill="#334155")


def _rectangle(box: Box, line: str, filling: str, radius: float = 8) -> str:
    return (
        f'<rect x="{box.x - box.width / 2:.1f}" y="{box.top:g}" width="{box.width:.1f}" height="{box.height:g}"'
        f' rx="{radius:g}" fill="{filling}" stroke="{line}" stroke-width="1.5"/>'
    )


def _text(
    x: float,
    y: float,
    words: str,
    size: float,
    *,
    weight: int = 400,
    fill: str = "#1f2937",
    family: str = "",
    anchor: str = "middle",
) -> str:
    font = f' font-family="{family}"' if family else ""
    bold = f' font-weight="{weight}"' if weight != 400 else ""
    return (
        f'<text x="{x:.1f}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" fill="{fill}"{bold}{font}>'
        f"{escape(words)}</text>"
    )


if __name__ == "__main__":
    made = picture()
    if "--check" in sys.argv:
        if not PICTURE.exists() or PICTURE.read_text("utf-8") != made:
            sys.exit(f"{PICTURE} is out of date; run python tools/make_architecture.py")
    else:
        PICTURE.write_text(made, "utf-8")
