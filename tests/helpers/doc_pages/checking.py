"""What can be said of a block without running it: its commands have such options, its imports and attributes exist."""

import ast
import functools
import importlib
import importlib.util
import inspect
import re
import shlex
from collections.abc import Iterator
from typing import Any

from helpers.doc_pages.blocks import Block

_EXTRAS = re.compile(r"(?:featcache|\.)\[([\w,]+)\]")


def scripts(block: Block) -> Iterator[str]:
    """Yield the shell lines of a block."""
    if block.kind == "bash":
        yield block.text
    elif block.kind == "console":
        yield from (command for command, _ in block.commands())
    for keyword in ("run", "output of", "error of"):
        if command := block.said(keyword):
            yield command


def commands(script: str) -> Iterator[list[str]]:
    """Yield the words behind each ``featcache`` of shell lines."""
    for line in script.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*_words(line), ";"]:
            if word.strip("();<>|&:"):
                words.append(word)
            elif "featcache" in words:
                yield words[words.index("featcache") + 1 :]
                words = []
            else:
                words = []


def _words(line: str) -> Iterator[str]:
    """Yield words and operators up to a comment, which begins with a word's first character, as in bash."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    while (word := lexer.get_token()) is not None and not word.startswith("#"):
        yield word


def refused(words: list[str]) -> str | None:
    """Return what the command line says against the words of a ``featcache``, without running it."""
    command = _top()
    names = ["featcache"]
    words = [word for word in words if word not in ("--help", "--version")]
    while words and hasattr(command, "commands"):
        if words[0] not in command.commands:
            return f"{' '.join(names)} has no command {words[0]}"
        names.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    if not words:
        return None
    try:
        command.make_context(" ".join(names), words)
    except Exception as error:  # usage errors, whose class depends on typer's version
        told = getattr(error, "format_message", None)
        return f"{' '.join([*names, *words])}: {told() if told else repr(error)}"
    return None


@functools.cache
def _top() -> Any:
    from typer.main import get_command

    from featcache.cli.app import app

    return get_command(app)


def absent(source: str) -> Iterator[str]:
    """Yield what Python statements name of featcache (modules, attributes, keywords) that does not exist."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and _ours(node.module):
            module = importlib.import_module(node.module or "")
            yield from (f"{node.module}.{name.name}" for name in node.names if not hasattr(module, name.name))
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names if _ours(each.name) and not _found(each.name))
        elif isinstance(node, ast.Attribute) and (name := _dotted(node)) and _ours(name):
            if _value(name) is None:
                yield name
        elif isinstance(node, ast.Call) and (name := _dotted(node.func)) and _ours(name):
            yield from _unknown_keywords(name, node)


def extras(text: str) -> set[str]:
    """Return the extras that a text installs featcache with."""
    return {name for found in _EXTRAS.findall(text) for name in found.split(",")}


def _ours(name: str | None) -> bool:
    return (name or "").partition(".")[0] == "featcache"


def _found(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _dotted(node: ast.AST) -> str | None:
    if isinstance(node, ast.Attribute):
        return f"{before}.{node.attr}" if (before := _dotted(node.value)) else None
    return node.id if isinstance(node, ast.Name) else None


def _value(name: str) -> Any:
    value: Any = importlib.import_module("featcache")
    for attribute in name.split(".")[1:]:
        value = getattr(value, attribute, None)
    return value


def _unknown_keywords(name: str, call: ast.Call) -> Iterator[str]:
    if not callable(function := _value(name)):
        return
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    yield from (f"{name}({each.arg}=)" for each in call.keywords if each.arg and each.arg not in parameters)
