"""Comparing the output that a page shows with what was printed: the same lines, with other numbers and names."""

import re

JOINED = 4
"""As many lines of a page may be one long line that was printed: pages are wrapped."""
CLASSES = {
    *("daisy", "dandelion", "rose", "roses", "sunflower", "sunflowers", "tulip", "tulips"),
    *("brick", "cat", "coffee", "coins", "galaxies", "grass", "gravel", "handwriting", "retina"),
    *("dog", "owl", "Abyssinian"),
}
SUFFIXES = "h5|png|jpe?g|html|onnx|csv|jsonl?|txt|tar|svg|cls|pth|safetensors"

_SHAPES = (
    (re.compile(r"…"), "\0"),
    (re.compile(rf"[^\s,;:()'\"\0]*(?:/[^\s,;:()'\"\0]*|\.(?:{SUFFIXES})\b)"), "PATH"),
    (re.compile(rf"\b(?:{'|'.join(sorted(CLASSES, key=len, reverse=True))})\b"), "CLASS"),
    (re.compile(r"\b(?:train|training|val|validation|test)\b"), "SPLIT"),
    (re.compile(r"\b(?:linear|logistic|ridge|knn|prototype|mlp)\b"), "HEAD"),
    (re.compile(r"\bdefaults\b|\b\w+=\S+(?<![,;:])(?: \w+=\S+(?<![,;:]))*"), "SETTINGS"),
    (re.compile(r"\*(?=\d)"), ""),
    (re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{8,}\b"), "0"),
    (re.compile(r"(?<![A-Za-z_0-9.])[-+±−]?\d[\d,]*(?:\.\d+)*(?:e[-+]?\d+)?\b"), "0"),
    (re.compile(r"\b0 (?:[kMGT]?B|ms|s|min|h)\b"), "0 UNIT"),
    (re.compile(r"(?<=ss)es\b|(?<=[a-z])(?<!s)s\b"), ""),
    (re.compile(r"\s+"), " "),
    (re.compile(r"\b([^,]+)(?:, \1)+(?=$|[ ,;:.)\0}])"), r"\1"),
)


def shape(line: str) -> str:
    """Return a line with placeholders for numbers, units, paths, classes, heads and settings; ``…`` becomes NUL."""
    for pattern, placeholder in _SHAPES:
        line = pattern.sub(placeholder, line)
    return line.strip()


def unprinted(shown: str, printed: str) -> list[str]:
    """Return the lines of a page's output that were not printed, in that order, in shape.

    Of a table, which has more rows for more classes or photos, one row of each shape is enough.

    Parameters
    ----------
    shown
        The text of a page.
    printed
        What was printed.
    """
    rest = [shape(line) for line in printed.splitlines()]
    lines = [line for line in shown.splitlines() if line.strip() not in ("", "…")]
    missing, before = [], None
    while lines:
        if before is not None and shape(lines[0]) == before:  # one more row of a table
            lines.pop(0)
            continue
        before = shape(lines[0])
        for count in range(1, 1 + min(JOINED, len(lines))):
            pattern = _pattern(" ".join(lines[:count]))
            at = next((number for number, each in enumerate(rest) if pattern.fullmatch(each)), None)
            if at is not None:
                rest, lines = rest[at + 1 :], lines[count:]
                break
        else:
            missing.append(lines.pop(0))
    return missing


def _pattern(shown: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, shape(shown).split("\0"))))
