"""Write the tables of ``pipelines/README.md`` from the records in ``pipelines/results``.

Command::

    python pipelines/make_readme.py [--check]

With ``--check`` nothing is written, and the exit status is 1 if the page is out of date.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from records import read_records, shown, shown_interval
from script import run_script

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
RESULTS = HERE / "results"

NEEDS: Mapping[str, str] = {
    "e3_flowers_inception": "Keras' weights of InceptionV3",
    "e4_animals_vgg16": "Keras' weights of VGG16, and the animals of COCO",
    "e5_animals_vgg16_frozen15": "Keras' weights of VGG16, and the animals of COCO",
    "e6_animals_inception": "TF-Slim's weights of InceptionV3, and the animals of COCO",
    "e7_cats_vs_dogs_vgg16": "Keras' weights of VGG16, and all 25,000 cats and dogs",
    "e8_cats_vs_dogs_vgg16_150": "Keras' weights of VGG16, and all 25,000 cats and dogs",
    "e9_food101_vgg19": "Keras' weights of VGG19, and Food-101",
}
"""What could not be had where the records were written."""

FULL = ("experiment", "what", "published", "ours", "95 % interval", "processor time", "what differs")
NOT_RUN = ("experiment", "published", "what is missing here", "stand-in")

Record = Mapping[str, Any]


def order(record: Record) -> tuple[int, int, str]:
    """Return the place of a record: E1 to E11, then studies by name."""
    number = re.match(r"e(\d+)_", record["name"])
    return (0, int(number[1]), "") if number else (1, 0, record["name"])


def cell(text: str) -> str:
    """Return a text as a cell of a Markdown table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").strip()


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [columns, ["---"] * len(columns), *([cell(text) for text in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def full_rows(record: Record) -> list[list[str]]:
    """Return a row for each comparison; what is said of the whole record stands in its first."""
    rows = []
    for number, each in enumerate(record["comparisons"]):
        unit, first = each["unit"], number == 0
        notes = [record["differs"] if first else "", each["note"]]
        rows.append(
            [
                f"[{record['title']}](results/{record['name']}.json)" if first else "",
                each["what"],
                shown(each["published"], unit),
                shown(each["ours"], unit),
                shown_interval(each["interval"], unit),
                processor_time(record) if first else "",
                "; ".join(filter(None, notes)),
            ]
        )
    return rows


def processor_time(record: Record) -> str:
    """Return the processor time of a record, which some that were made before there were records do not have."""
    seconds = record["seconds"].get("processor")
    return "–" if seconds is None else f"{seconds:.0f} s"


def not_run_row(record: Record) -> list[str]:
    """Return the row of a record of a stand-in, whose own numbers mean nothing."""
    published = [
        f"{each['what']} {shown(each['published'], each['unit'])}"
        for each in record["comparisons"]
        if each["published"] is not None
    ]
    return [
        f"[{record['title']}](results/{record['name']}.json)",
        ", ".join(published) or "pictures or curves only",
        NEEDS.get(record["name"], "–"),
        f"ran with `--small` in {processor_time(record)} of processors",
    ]


def tables(records: Sequence[Record]) -> str:
    """Return both tables."""
    ordered = sorted(records, key=order)
    full = [row for record in ordered if not record["small"] for row in full_rows(record)]
    small = [not_run_row(record) for record in ordered if record["small"]]
    return "\n".join(
        [
            *("### Run with real weights", "", *table(FULL, full), ""),
            *("### Not run at full size", "", *table(NOT_RUN, small)),
        ]
    )


def page(text: str, records: Sequence[Record]) -> str:
    """Return the page with its tables replaced by those of some records.

    Raises
    ------
    ValueError
        If a line that bounds the tables is missing: what stands after them would be lost.
    """
    begin, end = "<!-- tables: made by make_readme.py -->", "<!-- end of tables -->"
    before, found, rest = text.partition(begin)
    _, ends, after = rest.partition(end)
    if not (found and ends):
        raise ValueError(f"{PAGE} has no line {(end if found else begin)!r}; put it back, and run this again")
    return f"{before}{begin}\n{tables(records)}\n{end}{after}"


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if the page is out of date.")
    ] = False,
) -> None:
    old = PAGE.read_text("utf-8")
    new = page(old, read_records(RESULTS))
    if check and new != old:
        print(f"{PAGE} is out of date: run python pipelines/make_readme.py")
        raise typer.Exit(1)
    if new != old:
        PAGE.write_text(new, "utf-8")


if __name__ == "__main__":
    run_script(main)
