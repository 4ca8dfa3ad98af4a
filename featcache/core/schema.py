"""Settings declared once, on the fields of a dataclass: checks, signatures, options and tables are read from there."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ParamSpec, TypeVar

from featcache.core.argument_types import plain_value, require_type, require_types, spelled
from featcache.errors import UsageError, did_you_mean

P = ParamSpec("P")
R = TypeVar("R")

_KEY = "setting"


@dataclass(frozen=True)
class Limit:
    """Which values work, and how an error says what was expected; NaN must not be among them."""

    accepts: Callable[[Any], bool]
    expected: str


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of one setting.

    Parameters
    ----------
    default
        Its value where nothing is said.
    help
        What it is, for a line of ``--help``: a phrase without a full stop.
    panel
        The section of ``--help`` that it stands in.
    choices
        The words that it may be; none where it is no word.
    beside
        What else it may be beside the choices: a form of text.
    limit
        Which values work. ``None`` always does where the type says so.
    sensible
        Which of the values that work anybody can mean; others are refused as a slip where a user gives them. What was
        written down earlier may hold them.
    otherwise
        What is taken where nothing is said, in words, if that depends on something else: functions and commands then
        have ``None`` for a default.
    aliases
        Other spellings of the option, such as ``"--lr"``.
    name, hint
        Of the field that declares it, and the field's type; filled in by `settings_of`.
    """

    default: Any
    help: str
    panel: str
    choices: tuple[str, ...] = ()
    beside: Limit | None = None
    limit: Limit | None = None
    sensible: Limit | None = None
    otherwise: str = ""
    aliases: tuple[str, ...] = ()
    name: str = ""
    hint: Any = None

    @property
    def option(self) -> str:
        """Its name as options spell it, without dashes before it."""
        return self.name.replace("_", "-")

    @property
    def spelled(self) -> str:
        """Its name as errors spell it, which is as its user wrote it."""
        return spelled(self.name)

    @property
    def optional(self) -> bool:
        """Whether it may be ``None``."""
        return type(None) in typing.get_args(self.hint)

    @property
    def kind(self) -> Any:
        """Its type; of an optional one, the type that it has when it is there; ``tuple`` of any tuple."""
        kinds = [kind for kind in typing.get_args(self.hint) if kind is not type(None)]
        plain = kinds[0] if self.optional else self.hint
        return typing.get_origin(plain) or plain

    @property
    def public_default(self) -> Any:
        """Its default in signatures of functions and commands."""
        return None if self.otherwise else self.default

    def require_type(self, value: Any, hint: Any = None) -> None:
        """Refuse a value of another type, `hint` or its own.

        Raises
        ------
        UsageError
            Saying what is expected.
        """
        try:
            require_type(self.spelled, value, hint or self.hint)
        except UsageError as error:
            raise UsageError(
                f"{error}; known: {', '.join(self.choices)}" if self.choices else str(error)
            ) from None

    def require_known(self, value: Any) -> None:
        """Refuse a word that is none of the choices.

        Raises
        ------
        UsageError
            Naming the nearest choice.
        """
        if not self.choices or value in self.choices or (self.beside and self.beside.accepts(value)):
            return
        also = f"; or give {self.beside.expected}" if self.beside else ""
        raise UsageError(f"no {self.spelled} {value!r}; {did_you_mean(value, self.choices)}{also}")

    def require_within(self, value: Any) -> None:
        """Refuse a value beyond the limit.

        Raises
        ------
        UsageError
            Saying what is expected.
        """
        if value is None and self.optional:
            return
        if self.limit is not None and not self.limit.accepts(value):
            raise UsageError(f"{self.spelled} {value}: expected {self.limit.expected}")

    def require_sensible(self, value: Any) -> None:
        """Refuse a value that works and that nobody can mean.

        Raises
        ------
        UsageError
            Saying what is expected.
        """
        if self.sensible is not None and value is not None and not self.sensible.accepts(value):
            raise UsageError(f"{self.spelled} {value}: expected {self.sensible.expected}")


def declare(setting: Setting) -> Any:
    """Return the dataclass field of a setting."""
    return field(default=setting.default, metadata={_KEY: setting})


@functools.cache
def settings_of(cls: type) -> Mapping[str, Any]:
    """Return the settings that a dataclass declares, by name, in the order of its fields.

    Typed as ``Any``, because dataclasses declare subclasses of `Setting` that know more.
    """
    hints = typing.get_type_hints(cls)
    return types.MappingProxyType(
        {
            each.name: replace(each.metadata[_KEY], name=each.name, hint=hints[each.name])
            for each in fields(cls)
            if _KEY in each.metadata
        }
    )


def check_settings(instance: Any) -> None:
    """Check every declared setting of a dataclass instance: the types first, then words and limits.

    Numbers of numpy become Python's.

    Raises
    ------
    UsageError
        Naming the first value that cannot work, and what is expected.
    """
    settings = settings_of(type(instance)).values()
    for setting in settings:
        value = plain_value(getattr(instance, setting.name))
        setting.require_type(value)
        object.__setattr__(instance, setting.name, value)
    for setting in settings:
        setting.require_known(getattr(instance, setting.name))
    for setting in settings:
        setting.require_within(getattr(instance, setting.name))


def require_sensible(instance: Any) -> None:
    """Check that a user can mean the settings of a dataclass instance, which are valid.

    Raises
    ------
    UsageError
        Naming the first value that is a slip.
    """
    for setting in settings_of(type(instance)).values():
        setting.require_sensible(getattr(instance, setting.name))


def spelled_out(
    arguments: type, settings: Mapping[str, Setting], *, before: str
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Spell out, in the signature of a function, the settings that it takes as ``**settings: Unpack[arguments]``.

    Type checkers read the names and types from the `TypedDict`; `inspect.signature`, ``help()`` and notebooks see
    each setting with its default. A call is held to that signature and to its types, and the function receives every
    setting.

    Parameters
    ----------
    arguments
        The `TypedDict`: names and types, in the order to show.
    settings
        Where the defaults come from.
    before
        The parameter before which they stand.
    """
    hints = typing.get_type_hints(arguments)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        own = list(inspect.signature(function).parameters.values())[:-1]
        place = [parameter.name for parameter in own].index(before)
        spelled = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=settings[name].public_default, annotation=hint
            )
            for name, hint in hints.items()
        ]
        result = inspect.signature(function).return_annotation
        signature = inspect.Signature([*own[:place], *spelled, *own[place:]], return_annotation=result)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            for name in settings.keys() & bound.arguments.keys():
                if settings[name].choices:  # which the error names
                    settings[name].require_type(bound.arguments[name], hints[name])
            require_types(signature, bound.arguments)
            bound.apply_defaults()
            return function(*bound.args, **bound.kwargs)

        call.__signature__ = signature  # type: ignore[attr-defined]
        return call

    return decorate
