"""Why files of a folder are no records: counts of reasons, with the names of pictures whose format is not read."""

from collections import Counter
from collections.abc import Sequence

from featcache.core.display import some
from featcache.images.names import unread_format


class LeftOut(Counter[str]):
    """Reasons and how many files each is of."""

    def __init__(self) -> None:
        super().__init__()
        self._unread: dict[str, list[str]] = {}

    def no_image(self, name: str) -> None:
        """Count a file whose name is not that of an image, such as a text or a HEIC."""
        if (unread := unread_format(name)) is None:
            self["not an image by its name"] += 1
        else:
            self._unread.setdefault(unread, []).append(name)

    def folders(self, what: str, why: str, names: list[str]) -> None:
        """Count folders of one reason, such as ``folders beside the splits (a/, b/)``."""
        if names:
            several = "s" if len(names) > 1 else ""
            self[f"{what}{several} {why} ({some([f'{name}/' for name in names])})"] = len(names)

    def unread(self) -> dict[str, int]:
        """Return the reasons of pictures of formats that are not read, and how many each is of."""
        return {_convert(own, names): len(names) for own, names in self._unread.items()}

    def reasons(self) -> dict[str, int]:
        """Return all reasons, the longest last."""
        return {**self, **self.unread()}


def _convert(unread: str, names: list[str]) -> str:
    from featcache.images.decoding import READABLE  # and Pillow with it, which caches do not need

    several = len(names) > 1
    shown = some(names[:3]) + (", …" if len(names) > 3 else "")
    return (
        f"{unread} file{'s' if several else ''} ({shown}): unsupported format; convert {'them' if several else 'it'} "
        f"to one of {', '.join(READABLE)}"
    )


def in_words(reasons: dict[str, int]) -> str:
    """Return reasons as one text, such as ``"2 hidden, 1 not in a class folder"``."""
    return ", ".join(f"{count} {why}" for why, count in reasons.items())


def without_images(classes: Sequence[str]) -> dict[str, int]:
    """Return the reason for which classes are left out that are named and that no image has."""
    several = "es" if len(classes) > 1 else ""
    return {f"class{several} without images ({some(classes)})": len(classes)} if classes else {}
