"""What a file's name says: whether it is a picture that is read, or one of a format that is not."""

import os
from itertools import islice
from pathlib import Path

from featcache.images.signatures import is_read

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".avif"}
)
"""Of files that are taken for images; their content decides the format."""

_UNREAD = {
    "HEIC": ".heic .heics .heif .heifs .hif",
    "JPEG 2000": ".jp2 .j2k .jpf .jpx .j2c",
    "JPEG XL": ".jxl",
    "camera RAW": ".dng .cr2 .cr3 .nef .arw .orf .raf .rw2 .pef .srw",
    "Photoshop": ".psd .psb",
    "SVG": ".svg .svgz",
    "PAM or PFM": ".pam .pfm",
    "OpenEXR": ".exr",
    "DICOM": ".dcm",
}
_OTHER_PICTURES = frozenset(
    {".npy", ".npz", ".nii", ".nrrd", ".mha"}
    | {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp"}
)
"""Of arrays, volumes and videos: no images, and pictures are in them."""

_UNREAD_FORMATS = {end: name for name, ends in _UNREAD.items() for end in ends.split()}


def is_image_name(name: str) -> bool:
    """Return whether a file of this name is taken for an image; a HEIC is where what opens it is installed."""
    ending = os.path.splitext(name)[1].casefold()
    return ending in EXTENSIONS or (ending in _UNREAD_FORMATS and is_read(_UNREAD_FORMATS[ending]))


def unread_format(name: str) -> str | None:
    """Return the format of a picture that is not read, such as ``"HEIC"``, by its name; ``None`` of other files."""
    found = _UNREAD_FORMATS.get(os.path.splitext(name)[1].casefold())
    return None if found is None or is_read(found) else found


def may_hold_pictures(ending: str) -> bool:
    """Return whether files of an extension are arrays, volumes or videos, of which images can be made."""
    return ending.casefold() in _OTHER_PICTURES


def holds_images(folder: str | Path) -> bool:
    """Return whether there are images in a folder or those below it, of which a thousand are looked into."""
    return any(is_image_name(name) for _, _, names in islice(os.walk(folder), 1000) for name in names)
