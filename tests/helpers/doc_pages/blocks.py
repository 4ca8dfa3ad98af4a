"""The fenced blocks of a Markdown page, and what the comments above them say."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
GENERATED = ("docs/reference/cli.md",)
SIGNATURES = ("docs/reference/api.md",)
"""Pages whose Python blocks are signatures; their examples are ``pycon`` blocks."""
SHELL = ("bash", "sh", "shell")

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*(\w*)")
_COMMENT = re.compile(r"^ *<!-- (.*?) -->$")
_PREFIX = re.compile(r"^`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Parameters
    ----------
    page, line
        Where its fence is, from 1.
    kind
        ``"bash"``, ``"console"``, ``"python"``, ``"pycon"``, or ``"text"`` for what is only read.
    text
        What is in it.
    comments
        Of the lines right above it.
    """

    page: str
    line: int
    kind: str
    text: str
    comments: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Page and line, as an editor opens them."""
        return f"{self.page}:{self.line}"

    @property
    def not_run(self) -> tuple[str, ...]:
        """The reasons why it, or some of its lines, do not run here."""
        return tuple(each[8:].strip() for each in self.comments if each.startswith("not run:"))

    @property
    def runs(self) -> bool:
        """Whether any of it runs."""
        whole = any(not _PREFIX.match(reason) for reason in self.not_run)
        return not whole and "test-command" not in self.comments

    @property
    def left_out(self) -> tuple[str, ...]:
        """How the lines begin that do not run."""
        return tuple(found.group(1) for each in self.not_run if (found := _PREFIX.match(each)))

    @property
    def script(self) -> str:
        """The text without the lines that do not run."""
        lines = self.text.splitlines(keepends=True)
        return "".join("\n" if line.startswith(self.left_out) else line for line in lines)

    def said(self, keyword: str) -> str | None:
        """Return what a comment ``KEYWORD: …`` says; empty for ``KEYWORD`` alone."""
        for comment in self.comments:
            name, _, rest = comment.partition(":")
            if name == keyword:
                return rest.strip()
        return None

    def commands(self) -> Iterator[tuple[str, str]]:
        """Yield the commands of a console block, each with the output that is shown."""
        for part in re.split(r"^\$ ", self.script, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            while command.endswith("\\"):
                line, _, shown = shown.partition("\n")
                command += "\n" + line.removeprefix("> ")
            yield command, shown


def pages() -> list[Path]:
    """Return the pages that have blocks to run, README first."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if name_of(page) not in GENERATED and any(blocks(page))]


def name_of(page: Path) -> str:
    """Return a page's path from the repository's top."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page in its order."""
    yield from blocks_of(page.read_text("utf-8"), name_of(page))


def blocks_of(text: str, page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page's text in its order."""
    lines = enumerate(text.splitlines(), 1)
    comments: list[str] = []
    for number, line in lines:
        if comment := _COMMENT.match(line):
            comments.append(comment.group(1))
        elif opened := _FENCE.match(line):
            indent, fence, language = opened.groups()
            inside = []
            for _, each in lines:
                if each.strip().startswith(fence):
                    break
                inside.append(each.removeprefix(indent))
            body = "".join(f"{each}\n" for each in inside)
            yield Block(page, number, _kind(language, body, page), body, tuple(comments))
            comments = []
        else:
            comments = []


def _kind(language: str, text: str, page: str) -> str:
    if language == "python" and page in SIGNATURES:
        return "text"
    if language in ("python", "pycon"):
        return language
    if re.search(r"^\$ ", text, re.MULTILINE) and language in ("", "text", "console"):
        return "console"
    begins = re.match(r"(featcache [a-z]|pip install)", text)
    return "bash" if language in SHELL or (not language and begins) else "text"
