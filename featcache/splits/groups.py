"""Groups of images that stay together, read from their names."""

import re
from collections.abc import Sequence

from featcache.core.argument_types import spelled
from featcache.errors import UsageError


def read_groups(ids: Sequence[str], pattern: str) -> list[str]:
    """Return the group of each image: what the expression's first group (or the whole expression) matches in its id.

    Raises
    ------
    UsageError
        It is no regular expression, or matches nothing in some id.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{spelled('group_by')} {pattern!r} is no regular expression: {error}") from error
    found = [expression.search(name) for name in ids]
    if missing := [name for name, match in zip(ids, found, strict=True) if match is None]:
        raise UsageError(
            f"{spelled('group_by')} {pattern!r} finds nothing in {len(missing)} of {len(ids)} ids, "
            f"such as {missing[0]!r}; give an expression whose first (group) names the patient, the place or the day"
        )
    return [match[1] if expression.groups else match[0] for match in found if match]
