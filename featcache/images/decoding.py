"""Decode encoded bytes to an upright RGB picture, and map every failure to a quarantine reason.

What cannot be decoded raises `ImageError` with one of `QUARANTINE_REASONS`, and nothing else whatever the
bytes are. No setting of Pillow or of `warnings` is touched, so threads may decode side by side. Pixels are
decoded whole (``draft()`` would change them); ICC profiles are ignored, as torchvision, timm and Keras do.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image

from featcache.core.disk.contents import looks_like
from featcache.errors import ImageError
from featcache.images.limits import LARGE_PIXELS, require_readable_size, room_to_decode
from featcache.images.loading import load_pixels
from featcache.images.plugins import open_with_plugin
from featcache.images.rgb import largest_sample, strips, to_rgb
from featcache.images.signatures import WITH_PLUGIN, format_name, is_read, way_out
from featcache.images.work import open_stream, require_feasible

QUARANTINE_REASONS = (
    "empty file",
    "not an image",
    "unsupported format",
    "unsupported pixels",
    "too many pixels",
    "truncated",
    "damaged",
    "unreadable file",
    "changed during extraction",
    "out of memory",
    "too many bytes",
    "too much memory",
    "too much work",
    "not a regular file",
    "outside the dataset",
)
"""Why an image has no row. Cache files store index + 1: the order is fixed, new reasons go to the end."""

TEMPORARY_REASONS = frozenset({"unreadable file", "changed during extraction", "out of memory"})
"""Reasons that say something of a moment and not of the picture, so that it is tried again."""

REASONS_OF_READING = TEMPORARY_REASONS | {"not a regular file", "outside the dataset"}
"""Reasons for which an image's bytes were not read, or not as they are; their details say nothing of its content."""

MAX_PIXELS = 178_956_970
"""Width × height above which a picture is refused before any pixel is decoded (Pillow's own error limit)."""

_ENDINGS = {"JPEG": b"\xff\xd9", "PNG": b"IEND", "GIF": b";"}

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = [_UPRIGHT[number] for number in (5, 6, 7, 8)]


def read(
    data: bytes, *, exif: str, rgb: str, finish: Callable[[Image.Image], Image.Image] | None = None
) -> np.ndarray:
    """Decode a picture, apply `finish` to it and return its pixels.

    Parameters
    ----------
    data
        An encoded image; its content, not its name, decides the format. Of several frames the first is taken.
    exif
        ``apply`` or ``ignore``, see `featcache.images.transforms.Transforms`.
    rgb
        The rule of `featcache.images.rgb`, such as ``white``.
    finish
        What to do with the RGB picture before it becomes an array, such as a resize.

    Returns
    -------
    np.ndarray
        uint8[H, W, 3], red first, read-only (it is Pillow's own buffer).

    Raises
    ------
    ImageError
        The bytes are not a whole picture of a supported format.
    """
    name = _format_of(data)
    with _verdicts(name, data):
        image = _open(name, data)
        needed = require_feasible(name, image, data, turn=exif == "apply", whole=finish is None)
        with room_to_decode(needed):
            # One name for the picture in all its forms, so that each is freed as soon as the next is there.
            image, turn = _load(image, data, exif)
            image = to_rgb(image, rgb)
            image = image if turn is None else image.transpose(turn)
            array = np.asarray(finish(image)) if finish else _as_array(image)
            del image  # before others are let in
    return array


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """Format, mode and size of a picture before its conversion to RGB.

    Parameters
    ----------
    format
        By its content, such as ``"JPEG"``.
    mode
        Pillow's mode of its pixels, such as ``"RGB"``, ``"L"``, ``"P"``, ``"CMYK"`` or ``"I;16"``.
    width, height
        Pixels, once it is upright.
    orientation
        EXIF's number for how it was stored; 1 is upright.
    transparent
        Whether any of it may be transparent.
    several
        Whether it has more frames, pages or pictures than the one that is taken.
    largest
        The largest value of 16-bit grey; 0 of other pictures.
    """

    format: str
    mode: str
    width: int
    height: int
    orientation: int
    transparent: bool
    several: bool
    largest: int = 0


def examine(data: bytes) -> PictureFacts:
    """Decode a picture as `read` does and return its format, mode and size; raises as `read` does.

    Parameters
    ----------
    data
        An encoded image.

    Raises
    ------
    ImageError
        The bytes are not a whole picture of a supported format.
    """
    name = _format_of(data)
    with _verdicts(name, data):
        image = _open(name, data)
        mode = image.mode  # as stored: loading the pixels replaces that of some
        with room_to_decode(require_feasible(name, image, data, turn=False, whole=False)):
            image, turn = _load(image, data, "apply")
            mode = mode or image.mode
            largest = largest_sample(image)
            transparent = image.has_transparency_data
            image = to_rgb(image, "white")
        width, height = image.size if turn not in _ON_ITS_SIDE else image.size[::-1]
        del image
    untouched = _open(name, data)  # what the other frames are must not change what the first is
    return PictureFacts(
        format=name,
        mode=mode,
        width=width,
        height=height,
        orientation=_orientation(untouched),
        transparent=transparent,
        several=_has_several(untouched),
        largest=largest,
    )


@contextlib.contextmanager
def _verdicts(name: str, data: bytes) -> Iterator[None]:
    """Convert every exception that Pillow raises on these bytes into an `ImageError` with its reason."""
    try:
        yield
    except ImageError:
        raise
    # Pillow documents OSError, but damaged files also raise SyntaxError, ValueError, struct.error, EOFError,
    # zlib.error, OverflowError, AssertionError, MemoryError, ...: any of them is a verdict on these bytes.
    except Exception as error:
        text = str(error) or type(error).__name__
        if "'" in text or '"' in text:  # it quotes what the file says, which may be no picture at all
            text = "its header or pixels make no sense"
        raise ImageError(_reason(error, name, data), f"{name} of {len(data)} bytes: {text}") from error


def _load(image: Image.Image, data: bytes, exif: str) -> tuple[Image.Image, Image.Transpose | None]:
    """Decode an opened picture's pixels, all of them, and return them with how they are to be turned."""
    loaded = load_pixels(image, data)
    return loaded, _UPRIGHT.get(_orientation(image)) if exif == "apply" else None


def _as_array(image: Image.Image) -> np.ndarray:
    """Return the pixels of an RGB picture, uint8 ``[H, W, 3]``, read-only; large ones are copied strip by strip."""
    if image.width * image.height <= LARGE_PIXELS:
        return np.asarray(image)
    array = np.empty((image.height, image.width, 3), np.uint8)
    for left, upper, right, lower in strips(image):
        array[upper:lower] = np.asarray(image.crop((left, upper, right, lower)))
    array.flags.writeable = False
    return array


def _format_of(data: bytes) -> str:
    """Return the format's name, from the first bytes alone."""
    require_readable_size(len(data))
    if not data:
        raise ImageError("empty file", "0 bytes; copy or download it again")
    name = format_name(data)
    if name is None:
        raise ImageError(
            "not an image", f"{looks_like(data) or 'no known image format'}; copy or download it again"
        )
    if not is_read(name):
        raise ImageError("unsupported format", f"{name}; convert it to {way_out(name)}")
    return name


def _open(name: str, data: bytes) -> Image.Image:
    """Parse the header and check the size; no pixel is decoded yet.

    The plugin is called directly. `Image.open` would only try it the same way, but swallow the error that
    tells a truncated file from a damaged one, and warn about large pictures in a way no thread can silence.
    """
    if name in WITH_PLUGIN:
        return _within_limit(open_with_plugin(name, data))
    if name not in Image.OPEN:
        Image.init()
    opener, accept = Image.OPEN.get(name, (None, None))
    verdict = accept(bytes(data[:16])) if accept else True
    if opener is None or isinstance(verdict, str):
        raise ImageError("unsupported format", f"this Pillow was built without {name}; install a full wheel")
    return _within_limit(opener(open_stream(name, data), ""))


def _within_limit(image: Image.Image) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError("too many pixels", f"{width}×{height}, at most {MAX_PIXELS:,} are read; shrink it")
    return image


def _reason(error: Exception, name: str, data: bytes) -> str:
    """Choose the quarantine reason for an exception of Pillow's."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "too many pixels"
    return "truncated" if "truncated" in str(error).lower() or _ends_early(name, data) else "damaged"


def _ends_early(name: str, data: bytes) -> bool:
    """Return whether a file that failed to decode also lacks its end."""
    if name == "WEBP":
        return 8 + int.from_bytes(data[4:8], "little") > len(data)
    if name == "TIFF":  # the table of tags, often at the end, lies beyond what is there
        order = "little" if data[:1] == b"I" else "big"
        return int.from_bytes(data[4:8], order) + 2 > len(data)
    return name in _ENDINGS and _ENDINGS[name] not in bytes(data[-64:])


def _orientation(image: Image.Image) -> int:
    """Return EXIF's number for how a picture was stored, 1 (upright) where it says nothing that makes sense.

    Pictures are turned by that number and not by `ImageOps.exif_transpose`: that copies upright pictures and writes the
    whole EXIF block again, which fails where only some unrelated tag is broken.
    """
    try:
        number = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(number) if number in _UPRIGHT else 1
    except Exception:  # an unreadable block says nothing about the pixels
        return 1


def _has_several(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # what follows the first frame is damaged, which is not looked at anywhere else
        return True
