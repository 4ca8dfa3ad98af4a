"""Write docs/reference/api.md from signatures and docstrings of what is public; ``--check`` only compares.

Command: ``python tools/make_api.py``
"""

import inspect
import re
import sys
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "api.md"

HEAD = """# Python

Made by `python tools/make_api.py` from signatures and docstrings. Everything under the first headings is imported
from `featcache` itself; the names of the last two are met as arguments, results and exceptions. Functions have the
names and the defaults of the [commands](cli.md). Importing `featcache` is free: JAX is imported by the first call that
needs it.
"""

GROUPS = {
    "Datasets": ("open_dataset", "open_arrays", "Dataset", "check_dataset", "demo_photos", "DatasetCheck"),
    "Features": (
        *("extract", "Extraction", "plan_extraction", "PlanReport"),
        *("FeatureCache", "load_backbone", "Transforms"),
    ),
    "Heads": ("train_head", "Classifier", "backbone_predictor", "sweep", "SweepResult"),
    "The data": ("audit", "Audit"),
    "Search": ("similar", "SimilarPhotos"),
    "Labelling": ("suggest", "Suggestions"),
    "Pages": ("report", "Report", "explain", "Explanation", "activations", "filters"),
    "Taking it away": ("export", "ExportedModel"),
    "Fine-tuning": ("finetune", "FineTuning", "plan_finetuning"),
    "scikit-learn": ("FeatureExtractor", "HeadClassifier", "HeadRegressor"),
    "Process": ("use_device", "enable_compilation_cache"),
}
"""The public names by heading, in the order of the data; a name that is missing here is an error."""

RECORDS = (
    "featcache.datasets.dataset.Record",
    "featcache.images.augmentation.Augmentation",
    "featcache.backbones.loaded.LoadedBackbone",
    "featcache.splits.selection.SplitSpec",
    "featcache.heads.settings.Settings",
    "featcache.classifier.prediction.Prediction",
    "featcache.classifier.prediction.Predictor",
    "featcache.classifier.evaluation.ClassifierEvaluation",
    "featcache.metrics.multilabel.MultilabelEvaluation",
    "featcache.metrics.regression.RegressionEvaluation",
    "featcache.metrics.comparison.Comparison",
    "featcache.explanations.channels.ChannelGrids",
    "featcache.auditing.ranked.RankedList",
    "featcache.auditing.ranked.Suspect",
    "featcache.auditing.ranked.Resembled",
    "featcache.retrieval.result.Neighbourhood",
    "featcache.retrieval.result.SimilarPhoto",
    "featcache.sweeps.results.Choice",
    "featcache.finetuning.dry_run.FineTuningPlan",
    "featcache.labelling.suggestions.Suggestion",
)
"""What public functions take or return and is not imported from ``featcache`` itself."""

_SECTION = re.compile(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", re.MULTILINE)
_CODE = re.compile(r"``(.+?)``|`([^`]+)`", re.DOTALL)


def page() -> str:
    """Return the page."""
    import featcache

    errors = _errors()
    groups = {title: {name: getattr(featcache, name) for name in names} for title, names in GROUPS.items()}
    groups["Arguments and results"] = {path.rpartition(".")[2]: _at(path) for path in RECORDS}
    listed = {name for names in groups.values() for name in names}
    if absent := set(featcache.__all__) - listed - {"__version__", "FeatcacheError", "FeatcacheWarning"}:
        sys.exit(
            f"make_api.GROUPS lacks {', '.join(sorted(absent))}; add each under the heading where it belongs"
        )
    anchors = _anchors([each for title, names in groups.items() for each in (title, *names)])
    lines = [HEAD, *_contents(groups, anchors)]
    for title, names in groups.items():
        lines += ["", f"## {title}"]
        for name, value in names.items():
            lines += ["", f"### {name}", "", *_entry(name, value, imported=name in featcache.__all__)]
    text = "\n".join([*lines, "", "## Errors", "", *_error_table(errors)]) + "\n"
    anchors |= {error.__name__: "errors" for error in errors}
    return _linked(text, set(featcache.__all__), anchors)


def _at(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _contents(groups: dict[str, dict[str, Any]], anchors: dict[str, str]) -> Iterator[str]:
    yield from ("| | |", "| --- | --- |")
    for title, names in groups.items():
        yield f"| **[{title}](#{anchors[title]})** | |"
        for name, value in names.items():
            yield f"| [`{name}`](#{anchors[name]}) | {_marked(Docstring.of(value).summary)} |".replace(
                "\n", " "
            )
    yield "| **[Errors](#errors)** | `FeatcacheError` and its kinds; of warnings `FeatcacheWarning` is the one kind |"


# One function or class --------------------------------------------------------------------------------------


def _entry(name: str, value: Any, *, imported: bool) -> Iterator[str]:
    if not _is_record(value):
        yield from _call(f"featcache.{name}", value)
    elif not imported:
        yield from ("```python", f"from {value.__module__} import {name}", "```", "")
    yield from _described(value)
    if inspect.isclass(value):
        yield from _members(name, value)


def _members(name: str, cls: type) -> Iterator[str]:
    """Properties as a list, then each method."""
    found: dict[str, Any] = {}
    for base in reversed([base for base in cls.__mro__ if f"{base.__module__}.".startswith("featcache.")]):
        found |= {key: value for key, value in vars(base).items() if not key.startswith("_")}
    properties = {key: value for key, value in found.items() if _is_property(value)}
    if properties:
        yield from ("", "**Properties**", "")
        for key, value in properties.items():
            yield from _item(f"`{key}`", inspect.getdoc(value) or "")
    for key, value in found.items():
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if inspect.isfunction(function):
            bound = getattr(cls, key) if function is not value else _without_self(function)
            yield from ("", f"#### {name}.{key}", "", *_call(f"{name}.{key}", bound), *_described(function))


def _is_record(value: Any) -> bool:
    """Whether something is read rather than called; estimators of scikit-learn are made by their users."""
    return is_dataclass(value) and not hasattr(value, "get_params")


def _is_property(value: Any) -> bool:
    return isinstance(value, property) or type(value).__name__ == "cached_property"


def _without_self(function: Callable[..., Any]) -> Callable[..., Any]:
    return types.MethodType(function, object())


def _call(name: str, function: Callable[..., Any]) -> Iterator[str]:
    """The signature in a block of code, on one line where it fits."""
    signature = inspect.signature(function)
    words, named = [], False
    for parameter in signature.parameters.values():
        if parameter.kind == parameter.KEYWORD_ONLY and not named:
            words.append("*")
            named = True
        mark = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f"={_default(parameter.default)}"
        words.append(f"{mark}{parameter.name}{default}")
    returned = signature.return_annotation
    plain = inspect.isclass(function) or returned is signature.empty
    after = "" if plain or returned is None else f" -> {_annotation(returned)}"
    line = f"{name}({', '.join(words)}){after}"
    yield "```python"
    yield from [line] if len(line) <= 100 else [f"{name}(", *_rows(words), f"){after}"]
    yield from ("```", "")


def _rows(words: list[str]) -> Iterator[str]:
    row = "   "
    for word in words:
        if len(row) + len(word) > 98:
            yield row
            row = "   "
        row += f" {word},"
    yield row


def _default(value: Any) -> str:
    if type(value).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
        return "…"
    return repr(value)


def _annotation(value: Any) -> str:
    """An annotation as one would write it, without the modules."""
    if isinstance(value, str):
        return re.sub(r"\b[a-z_][\w.]*\.(?=[A-Z])", "", value)
    if value is None or value is type(None):
        return "None"
    if isinstance(value, list):
        return f"[{', '.join(_annotation(each) for each in value)}]"
    origin, given = typing.get_origin(value), typing.get_args(value)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_annotation(each) for each in given)
    if origin is typing.Literal:
        return " | ".join(repr(each) for each in given)
    if origin and given:
        return f"{origin.__name__}[{', '.join(_annotation(each) for each in given)}]"
    return "..." if value is Ellipsis else getattr(value, "__name__", str(value)).rpartition(".")[2]


# Docstrings -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Docstring:
    """A numpy docstring: what comes before the first section, and the text of each."""

    text: str
    sections: dict[str, str]

    @classmethod
    def of(cls, value: Any) -> "Docstring":
        """Take the docstring of something apart."""
        text, *rest = _SECTION.split(inspect.getdoc(value) or "")
        sections = zip(rest[::2], rest[1::2], strict=True)
        return cls(text.strip(), {title: body.strip("\n") for title, body in sections})

    @property
    def summary(self) -> str:
        """The first paragraph."""
        return self.text.split("\n\n")[0]


def _described(value: Any) -> Iterator[str]:
    """Text and sections of a docstring as Markdown; a record's fields with those that it inherits."""
    docstring = Docstring.of(value)
    yield _marked(docstring.text)
    sections = docstring.sections
    if _is_record(value):
        sections = {"Fields": _fields(value)} | {k: v for k, v in sections.items() if k != "Parameters"}
    for title, body in sections.items():
        yield from ("", f"**{title}**", "")
        if title == "Examples":
            yield from ("```pycon", re.sub(r" *# doctest: .*", "", body), "```")
        elif title in ("Notes", "References"):
            yield _marked(body)
        else:
            types_of = _types(value) if title in ("Parameters", "Fields") else {}
            for names, text in _items(body):
                yield from _item(_heading(names, types_of), text)


def _fields(record: Any) -> str:
    """The entries of a record's fields in numpy's form: documented ones, its bases' first, then the others."""
    bases = [base for base in reversed(record.__mro__) if is_dataclass(base)]
    bodies = [Docstring.of(base).sections.get("Parameters", "") for base in bases]
    documented = {name for body in bodies for names, _ in _items(body) for name in re.split(r", *", names)}
    return "\n".join([*filter(None, bodies), *(name for name in _types(record) if name not in documented)])


def _items(body: str) -> Iterator[tuple[str, str]]:
    """Each entry of a section: its unindented line, and the text under it."""
    for entry in re.split(r"\n(?=\S)", body):
        names, _, text = entry.partition("\n")
        yield names, inspect.cleandoc(text)


def _item(heading: str, text: str) -> Iterator[str]:
    yield f"- {heading}" + (":" if text else "")
    for line in _marked(text).splitlines():
        yield f"  {line}" if line else ""


def _heading(names: str, types_of: dict[str, str]) -> str:
    """Names as code; of parameters with their type, where all of an entry have the same."""
    if several := re.fullmatch(r"(list|tuple|iterator) of (\S+)", names):
        return f"{several[1]} of `{several[2]}`"
    parts = re.split(r", *| or ", names)
    kinds = {types_of.get(part.lstrip("*"), "") for part in parts}
    kind = kinds.pop() if len(kinds) == 1 else ""
    return ", ".join(f"`{part}`" for part in parts) + (f" (`{kind}`)" if kind else "")


def _types(value: Any) -> dict[str, str]:
    """Annotation of each parameter; of a record's fields also the default."""
    found = {}
    for name, parameter in inspect.signature(value).parameters.items():
        if parameter.annotation is not parameter.empty:
            found[name] = _annotation(parameter.annotation)
            if _is_record(value) and parameter.default is not parameter.empty:
                found[name] += f" = {_default(parameter.default)}"
    return found


# Markdown ---------------------------------------------------------------------------------------------------


def _marked(text: str) -> str:
    """Docstring prose as Markdown: double backticks are single, ``<`` outside of code is no tag."""
    parts, end = [], 0
    for code in _CODE.finditer(text):
        parts += [_escaped(text[end : code.start()]), f"`{code[1] or code[2]}`"]
        end = code.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return text.replace("<", r"\<")


def _linked(text: str, public: set[str], anchors: dict[str, str]) -> str:
    """Link what is in code marks and has a heading of its own, except in blocks of code and in links."""
    members = re.findall(r"^#### (\S+)$", text, re.MULTILINE)
    anchors = {member: _anchor(member) for member in members} | anchors
    pattern = re.compile(r"(?<![`\[])`((?:featcache\.)?)(?:[a-z_]+\.)*((?:[A-Z]\w*\.)?\w+)`(?!`)")

    def link(match: re.Match[str]) -> str:
        qualified, name = match[1], match[2]
        # `extract` alone may be any word, such as a command or a column.
        ambiguous = name in public and name.isalpha() and name.islower() and not qualified
        if name not in anchors or ambiguous:
            return match[0]
        return f"[`{name}`](#{anchors[name]})"

    blocks = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    linked = (block if block.startswith("```") else pattern.sub(link, block) for block in blocks)
    return re.sub(r"`docs/(\w+)/([\w-]+)\.md`", r"[\2](../\1/\2.md)", "".join(linked))


def _anchors(headings: list[str]) -> dict[str, str]:
    """The anchor of each heading in the page's order: `audit` is the function, `audit-1` the class of that name."""
    seen: Counter[str] = Counter()
    found = {}
    for heading in headings:
        anchor = _anchor(heading)
        found[heading] = f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor
        seen[anchor] += 1
    return found


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


# Errors -----------------------------------------------------------------------------------------------------


def _errors() -> list[type]:
    from featcache import errors

    kinds = [value for value in vars(errors).values() if inspect.isclass(value)]
    return [kind for kind in kinds if issubclass(kind, errors.FeatcacheError)]


def _error_table(errors: list[type]) -> Iterator[str]:
    yield "Of `featcache.errors`; each is also the builtin that fits."
    yield from ("", "| | is a | |", "| --- | --- | --- |")
    for kind in errors:
        bases = ", ".join(f"`{base.__name__}`" for base in kind.__bases__)
        yield f"| `{kind.__name__}` | {bases} | {_marked(Docstring.of(kind).summary)} |".replace("\n", " ")


if __name__ == "__main__":
    made = page()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text("utf-8") != made:
            sys.exit(f"{PAGE} is out of date; run python tools/make_api.py")
    else:
        PAGE.write_text(made, "utf-8")
