"""Options of commands: made from declared settings or shared by commands, and shown by --help in sections."""

import copy
import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from featcache.core.devices.choice import AUTO, use_device
from featcache.core.schema import Setting
from featcache.heads.settings import HeadSetting

COMMON = "Common"
REST = "Output"
"""The section of options without one: --json, --quiet, --verbose, --help."""

SECTIONS = (
    COMMON,
    "Data",
    "Backbone",
    "Views",
    "Cluster",
    "Head",
    "Optimisation",
    "Validation",
    "Reuse",
    "Heat",
    "Channels",
    "Page",
    "Output",
)

Train = Annotated[
    str, typer.Option(help="Training rows: a split or slice, as train[:80%].", rich_help_panel="Data")
]
Val = Annotated[
    str | None,
    typer.Option(
        help="Validation rows, or none [default: val, or a held-out share].", rich_help_panel="Validation"
    ),
]
Test = Annotated[str | None, typer.Option(help="Test rows, or none [default: test].", rich_help_panel="Data")]
GroupBy = Annotated[
    str | None, typer.Option(help="Expression over ids: groups stay together.", rich_help_panel="Data")
]
Refit = Annotated[
    bool,
    typer.Option(
        help="Fit the final head on training and validation rows together.", rich_help_panel="Validation"
    ),
]
ShuffleSlices = Annotated[
    bool, typer.Option(help="Cut slices of shuffled rows, even over classes.", rich_help_panel="Data")
]
Exclude = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="List of photos to leave out: an id in each line, and a reason.",
        rich_help_panel="Data",
    ),
]
Calibrate = Annotated[
    bool,
    typer.Option(help="Calibrate probabilities on rows that were held out.", rich_help_panel="Validation"),
]
RejectAccuracy = Annotated[
    float,
    typer.Option(help="Required accuracy of predictions that are not unknown.", rich_help_panel="Validation"),
]


Device = Annotated[
    str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:0,1 (these cards alone) or tpu.")
]


class SectionedCommand(TyperCommand):
    """A command whose ``--help`` shows its options in sections, as plain text.

    Typer has sections only in its rich markup mode, and importing rich takes longer than printing the text.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, and options by section, or in one list if no option has a section."""
        written: dict[str, list[tuple[str, str]]] = {}
        for title, parameters in sections(self.get_params(ctx)):
            lines = [line for parameter in parameters if (line := parameter.get_help_record(ctx))]
            written.setdefault(title, []).extend(lines)
        for title, lines in written.items():
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines)


class WholeHelpGroup(TyperGroup):
    """A group of commands whose ``--help`` gives each command's whole first sentence, over several lines if need be.

    Typer cuts it where the line ends, which leaves "Run a frozen backbone once over a dataset and keep its...".
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands' names and sentences."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        lines = [(name, each.get_short_help_str(_UNCUT)) for name, each in found if each and not each.hidden]
        if lines:
            with formatter.section("Commands"):
                formatter.write_dl(lines)


_UNCUT = 1_000_000
"""Letters of a help text that are more than any has."""


def sections(parameters: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    """Group a command's parameters by the sections of its help: title and parameters, in display order."""
    options = [each for each in parameters if each.param_type_name == "option"]
    arguments = [each for each in parameters if each.param_type_name == "argument"]
    # Typer's own --help has no such attribute in versions that build on click.
    panels = [getattr(each, "rich_help_panel", None) for each in options]
    if not any(panels):
        return [("Arguments", arguments), ("Options", options)]
    found = {
        title: [each for each, panel in zip(options, panels, strict=True) if (panel or REST) == title]
        for title in SECTIONS
    }
    return [("Arguments", arguments), *((title, within) for title, within in found.items() if within)]


# Options from settings --------------------------------------------------------------------------------------


def option(setting: Setting) -> inspect.Parameter:
    """Return the option for one value of a setting; of a tuple, text such as ``256,128``."""
    known = (*setting.choices, *([setting.beside.expected] if setting.beside else ()))
    words = f"{', '.join(known[:-1])} or {known[-1]}" if known else ""
    default, hint = setting.public_default, setting.hint
    if setting.kind is tuple:
        default, hint = ",".join(map(str, setting.default)), str
    if setting.otherwise and not setting.optional:
        hint = hint | None
    metavar = "N,N…" if setting.kind is tuple else None
    return _parameter(setting, hint, default, _help(setting, words), metavar)


def axis(setting: HeadSetting) -> inspect.Parameter:
    """Return the option for several values of a setting, in the grammar of `featcache.sweeps.axes`."""
    words = ",".join(("true", "false") if setting.kind is bool else setting.choices)
    words += f", or {setting.beside.expected}" if setting.beside else ""
    words = "such as 256,512x128" if setting.kind is tuple else words
    # ``none`` is a value of optional settings, except those whose missing value stands for a default.
    named = f"{setting.help}, or none" if setting.optional and not setting.otherwise else setting.help
    shown = replace(setting, help=named, otherwise=setting.grid or setting.otherwise)
    return _parameter(setting, str | None, None, _help(shown, words), "VALUES")


def _help(setting: Setting, words: str) -> str:
    heads = setting.heads if isinstance(setting, HeadSetting) else ()
    own = f"{', '.join(heads)}: " if heads and "linear" not in heads else ""
    otherwise = f" [default: {setting.otherwise}]" if setting.otherwise else ""
    text = f"{own}{setting.help}{f': {words}' if words else ''}{otherwise}."
    return text if own else text[0].upper() + text[1:]


def _parameter(
    setting: Setting, hint: Any, default: Any, text: str, metavar: str | None
) -> inspect.Parameter:
    # With an explicit name, typer would not add a flag's --no-… form.
    names = () if hint is bool else (f"--{setting.option}", *setting.aliases)
    info = typer.Option(*names, help=text, metavar=metavar, rich_help_panel=setting.panel)
    return inspect.Parameter(
        setting.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, info]
    )


def with_options(
    *, common: Sequence[str], options: Iterable[inspect.Parameter] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Set the signature of a command, from which typer makes its options.

    Parameters
    ----------
    common
        The parameters that come first, in the section `COMMON`.
    options
        Parameters that the command receives as ``**settings``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command).parameters.values()
        named = [each for each in own if each.kind != each.VAR_KEYWORD]
        known = {each.name: each.replace(kind=each.KEYWORD_ONLY) for each in (*named, *options)}
        first = {name: _among_common(known[name]) for name in common}
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [*first.values(), *(each for name, each in known.items() if name not in first)]
        )
        return command

    return decorate


def _among_common(parameter: inspect.Parameter) -> inspect.Parameter:
    hint, info = typing.get_args(parameter.annotation)
    info = copy.copy(info)
    info.rich_help_panel = COMMON
    return parameter.replace(annotation=Annotated[hint, info])


def with_device(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that computes the option ``--device``, which holds from before its first line."""

    @functools.wraps(command)
    def computing(*arguments: Any, device: str, **options: Any) -> Any:
        use_device(device)
        return command(*arguments, **options)

    own = inspect.Parameter("device", inspect.Parameter.KEYWORD_ONLY, default=AUTO, annotation=Device)
    signature = inspect.signature(command)
    computing.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), own]
    )
    return computing
