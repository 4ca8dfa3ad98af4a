"""Types of arguments, checked where a user gives them: an error names the argument, its value and what was expected."""

import functools
import inspect
import os
import reprlib
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from featcache.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")

KIND_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    os.PathLike: "a path",
    types.NoneType: "None",
}
"""What an error calls a type."""

_PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}
_NUMBERS = {int: Integral, float: Real}


SEEDS, SEED_WORDS = range(2**32), "in 0..2^32"
"""Seeds that every generator of random numbers takes."""

_AS_OPTIONS: ContextVar[bool] = ContextVar("as_options", default=False)


@contextmanager
def named_as_options() -> Iterator[None]:
    """Let errors name arguments as options meanwhile, ``--batch-size``, since a command was run."""
    token = _AS_OPTIONS.set(True)
    try:
        yield
    finally:
        _AS_OPTIONS.reset(token)


_OTHER_OPTIONS = {"set_level": "set"}
"""Arguments whose option has another name: in Python ``set`` is a type."""


def spelled(name: str) -> str:
    """Return an argument's name as its user wrote it: ``batch_size`` in Python, ``--batch-size`` for a command."""
    return f"--{_OTHER_OPTIONS.get(name, name).replace('_', '-')}" if _AS_OPTIONS.get() else name


def require_type(option: str, value: Any, hint: Any) -> None:
    """Refuse a value that is not of the type that a signature declares.

    A whole number is a number, ``True`` is neither. Hints that say more than classes, functions, lists of the types of
    `KIND_WORDS` and alternatives between them are not checked here.

    Parameters
    ----------
    option
        Its name, as errors spell it.
    value, hint
        The value, and the declared type.

    Raises
    ------
    UsageError
        Naming what was given and what was expected.
    """
    alternatives = _alternatives(hint)
    if all(_is_known(each) for each in alternatives) and not any(_fits(value, each) for each in alternatives):
        words = list(dict.fromkeys(_words(each) for each in alternatives))
        expected = " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
        raise UsageError(f"{option} {reprlib.repr(value)}: expected {expected}")


def require_seed(seed: int) -> None:
    """Refuse a number that is not in `SEEDS`, which generators of random numbers do not take.

    Raises
    ------
    UsageError
        Naming it.
    """
    if seed not in SEEDS:
        raise UsageError(f"{spelled('seed')} {seed}: expected {SEED_WORDS}")


def plain_value(value: Any) -> Any:
    """Return numpy's numbers as Python's, which JSON can write; any other value as it is."""
    if isinstance(value, tuple):
        return tuple(map(plain_value, value))
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "ndim", 0) == 0 else value


def checked_types(
    but: Collection[str] = (),
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check the types of a function's arguments before it runs; see `require_type`.

    Parameters
    ----------
    but
        Parameters that the function itself checks, in words of its own.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind_partial(*args, **kwargs)
            require_types(signature, bound.arguments, but)
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate


def require_types(signature: inspect.Signature, given: dict[str, Any], but: Collection[str] = ()) -> None:
    """Check given arguments against the annotations of a signature, but for some.

    One value where a list of such is expected becomes a list of one, in place: ``hidden=256`` means ``(256,)``.

    Raises
    ------
    UsageError
        Naming the first that is of another type.
    """
    for name, value in list(given.items()):
        parameter = signature.parameters[name]
        plain = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if plain and name not in but and value is not parameter.default:
            given[name] = value = _listed(value, parameter.annotation)
            require_type(spelled(name), value, parameter.annotation)


def _listed(value: Any, hint: Any) -> Any:
    alternatives = _alternatives(hint)
    if not all(_is_known(each) for each in alternatives) or any(_fits(value, each) for each in alternatives):
        return value
    one = (value,)
    return one if any(_is_list(each) and _fits(one, each) for each in alternatives) else value


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(inner for each in typing.get_args(hint) for inner in _alternatives(each))
    return (hint,)


def _is_known(hint: Any) -> bool:
    if _is_list(hint):
        return all(map(_is_known, _elements(hint)))
    return _kind(hint) in KIND_WORDS or _kind(hint) is Callable or _is_class_of_ours(hint)


def _is_class_of_ours(hint: Any) -> bool:
    return (
        inspect.isclass(hint)
        and hint.__module__.split(".")[0] == "featcache"
        and not typing.is_typeddict(hint)
    )


def _kind(hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin is None:
        return os.PathLike if hasattr(hint, "__fspath__") else hint
    return origin if origin in (os.PathLike, Callable) else None


def _is_list(hint: Any) -> bool:
    return typing.get_origin(hint) in (Sequence, tuple, list)


def _elements(hint: Any) -> tuple[Any, ...]:
    return tuple(inner for each in typing.get_args(hint) if each is not ... for inner in _alternatives(each))


def _fits(value: Any, hint: Any) -> bool:
    if _is_list(hint):
        return (
            isinstance(value, Sequence)
            and not isinstance(value, str | bytes)
            and all(any(_fits(each, inner) for inner in _elements(hint)) for each in value)
        )
    kind = _kind(hint)
    if kind is Callable:
        return callable(value)
    if kind is bool:
        return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")
    is_true = isinstance(value, bool) and kind in _NUMBERS
    return not is_true and isinstance(value, _NUMBERS.get(kind, kind))


def _words(hint: Any) -> str:
    if _kind(hint) is Callable:
        return "a function"
    if not _is_list(hint):
        return (
            KIND_WORDS.get(_kind(hint)) or f"{'an' if hint.__name__[0] in 'AEIOU' else 'a'} {hint.__name__}"
        )
    names = {_PLURALS.get(_kind(each), "paths") for each in _elements(hint)}
    return f"a list of {' or '.join(sorted(names, reverse=True))}"
