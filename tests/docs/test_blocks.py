"""What the blocks of all pages name exists; how few of them do not run. What they do is in `test_pages.py`."""

import ast
import subprocess
import tomllib

import pytest
from helpers.doc_pages.blocks import ROOT, Block, blocks, pages
from helpers.doc_pages.checking import absent, commands, extras, refused, scripts

NOT_RUN = 48
"""As many blocks, or lines of blocks, do not run at most. Lower it when there are fewer; before you raise it, look for
small data on which the new block runs."""
SHORTEST_REASON = len("needs Docker")


@pytest.fixture(scope="module")
def everything() -> list[Block]:
    return [block for page in pages() for block in blocks(page)]


def test_each_block_that_does_not_run_says_why_and_they_are_few(everything):
    reasons = [(block.place, reason) for block in everything for reason in block.not_run]
    assert [
        place for place, reason in reasons if len(reason.rpartition("`")[2].strip()) < SHORTEST_REASON
    ] == []
    assert len(reasons) == NOT_RUN, "lower NOT_RUN" if len(reasons) < NOT_RUN else reasons


def test_lines_that_are_left_out_are_there(everything):
    absent_lines = [
        (block.place, beginning)
        for block in everything
        for beginning in block.left_out
        if not any(line.startswith(beginning) for line in block.text.splitlines())
    ]
    assert absent_lines == []


def test_every_shell_block_is_bash(everything):
    for block in everything:
        script = "\n".join(scripts(block))
        if script:
            checked = subprocess.run(
                ["bash", "-n"], input=script, text=True, capture_output=True, check=False
            )
            assert checked.returncode == 0, f"{block.place}: {checked.stderr}"


def test_every_command_takes_such_options(everything):
    asked = [(block.place, words) for block in everything for s in scripts(block) for words in commands(s)]
    assert len(asked) > 100
    assert [f"{place}: {told}" for place, words in asked if (told := refused(words))] == []


def test_every_python_block_names_what_featcache_has(everything):
    found = [block for block in everything if block.kind == "python"]
    assert len(found) > 10
    for block in found:
        ast.parse(block.text, block.place)
    assert [f"{block.place}: {name}" for block in found for name in absent(block.text)] == []


def test_every_extra_that_is_installed_exists(everything):
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {(block.place, name) for block in everything for name in extras(block.text)}
    assert {(place, name) for place, name in asked if name not in known} == set()
