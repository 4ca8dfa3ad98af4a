"""The command line's grammar of augmentations: parse words such as ``flip=0.5`` and write them."""

from collections.abc import Mapping, Sequence
from typing import Any

from featcache.errors import UsageError, did_you_mean

FLIP = 0.5
COLOUR = 0.4
HUE_SHARE = 1 / 4
"""``colour=S`` is S for brightness, contrast and saturation, and this part of it for hue (0.4 and 0.1)."""

_COLOURS = ("brightness", "contrast", "saturation", "hue")
_ALIASES = {"crop": "random-resized-crop", "color": "colour"}
_VALUES = {
    "flip": "a probability: flip=0.5",
    "random-resized-crop": "LEAST, LEAST:MOST or LEAST:MOST:NARROWEST:WIDEST: random-resized-crop=0.25:1",
    "random-square-crop": "a margin in pixels: random-square-crop=10",
    "colour": "one strength, or brightness:contrast:saturation:hue: colour=0.2",
}


def parse_words(text: str) -> dict[str, Any]:
    """Return the fields of an `featcache.images.augmentation.Augmentation` that words set.

    Raises
    ------
    UsageError
        A word or its value is unknown, a word stands twice, or two of them contradict each other.
    """
    given: dict[str, list[float]] = {}
    for part in (part.strip() for part in text.split(",")):
        word, equals, value = part.partition("=")
        word = _ALIASES.get(word, word)
        if word == "none" and not equals and part == text.strip():
            return {}
        if word not in _VALUES:
            raise UsageError(_unknown(part, text))
        if word in given:
            raise UsageError(f"augmentation {text!r} has {word} twice; give it once")
        given[word] = _numbers(word, value, text) if equals else []
    if {"random-resized-crop", "random-square-crop"} <= given.keys():
        raise UsageError(f"augmentation {text!r} has two crops; choose one")
    return {name: value for word, values in given.items() for name, value in _fields(word, values).items()}


def _unknown(part: str, text: str) -> str:
    known = ["none", *_VALUES, *_ALIASES]
    if part == "none":
        return f"augmentation {text!r}: none stands alone, or not at all"
    word = part.partition("=")[0]
    what = f"{word!r} is unknown" if word else "a word is missing"
    return f"augmentation {text!r}: {what}; {did_you_mean(word, known)}"


def _numbers(word: str, value: str, text: str) -> list[float]:
    lengths = {"flip": (1,), "random-resized-crop": (1, 2, 4), "random-square-crop": (1,), "colour": (1, 4)}[
        word
    ]
    try:
        numbers = [float(number) for number in value.split(":")]
        whole = word != "random-square-crop" or numbers[0].is_integer()
    except ValueError:
        numbers, whole = [], False
    if len(numbers) not in lengths or not whole:
        raise UsageError(f"augmentation {text!r}: {word} takes {_VALUES[word]}; not {value!r}")
    return numbers


def _fields(word: str, values: list[float]) -> dict[str, Any]:
    if word == "flip":
        return {"flip": values[0] if values else FLIP}
    if word == "random-square-crop":
        return {"crop": "random-square"} | ({"margin": int(values[0])} if values else {})
    if word == "colour":
        strength = values[0] if values else COLOUR
        strengths = values if len(values) == 4 else [strength] * 3 + [strength * HUE_SHARE]
        return dict(zip(_COLOURS, strengths, strict=True))
    scale = {"scale": (values[0], values[1] if len(values) > 1 else 1.0)} if values else {}
    return {"crop": "random-resized"} | scale | ({"ratio": tuple(values[2:])} if len(values) == 4 else {})


def spell(fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return the shortest text that `parse_words` reads as these fields.

    Parameters
    ----------
    fields
        Every field of an augmentation.
    defaults
        Default value of each field.
    """
    words = []
    if fields["flip"]:
        words.append(_spell_word("flip", [fields["flip"]], [FLIP]))
    if fields["crop"] == "random-resized":
        boxes, usual = ([*given["scale"], *given["ratio"]] for given in (fields, defaults))
        words.append(
            _spell_word("random-resized-crop", boxes[:2] if boxes[2:] == usual[2:] else boxes, usual[:2])
        )
    if fields["crop"] == "random-square":
        words.append(_spell_word("random-square-crop", [fields["margin"]], [defaults["margin"]]))
    strengths = [fields[name] for name in _COLOURS]
    if any(strengths):
        short = [strengths[0]] * 3 + [strengths[0] * HUE_SHARE] == strengths
        words.append(_spell_word("colour", strengths[:1] if short else strengths, [COLOUR]))
    return ",".join(words) or "none"


def _spell_word(word: str, values: Sequence[float], usual: Sequence[float]) -> str:
    return word if values == usual else f"{word}={':'.join(map(repr, values))}"
