"""The audit that a report shows: read from a file, taken as it is, or made now."""

import os
from typing import TYPE_CHECKING

from featcache.auditing.written import WrittenAudit, read_audit, written_audit
from featcache.core.display import counted
from featcache.core.documents.json_text import plain
from featcache.core.progress import OnProgress
from featcache.errors import UsageError

if TYPE_CHECKING:
    from featcache.auditing.audit import Audit
    from featcache.cache import FeatureCache
    from featcache.reports.material import Material

RUN = "run"
"""Asks for an audit to be made now; a file of this name is ``./run``."""


def audit_of(
    material: "Material", given: "str | os.PathLike[str] | Audit", on_progress: OnProgress | None = None
) -> WrittenAudit:
    """Return the lists of an audit of the photos that a report is about.

    Parameters
    ----------
    material
        The report's; a sentence about photos of the audit that its cache does not hold is added to its notes.
    given
        The file that ``featcache audit CACHE --json`` was written to, the result of `featcache.audit`, or ``"run"``.
    on_progress
        Called while an audit is made.

    Raises
    ------
    UsageError
        If the audit is of other photos, or one is to be made and there is no cache.
    DataError
        If the file is none of an audit.
    """
    cache = material.cache
    if isinstance(given, str) and given == RUN:
        if cache is None:
            raise UsageError(
                f"{material.path} has no cache that could be audited; name the file of an audit: featcache audit "
                "CACHE --json > FILE"
            )
        from featcache.auditing.audit import audit

        layer = None if material.classifier is None else material.classifier.layer
        given = audit(cache, layer=layer, on_progress=on_progress)
    if isinstance(given, str | os.PathLike):
        found, origin = read_audit(given), os.fspath(given)
    else:
        found, origin = written_audit(plain(given.to_json()), "the audit"), "the audit"
    if cache is not None:
        _require_same_photos(found, cache, origin, material.notes)
    return found


def _require_same_photos(found: WrittenAudit, cache: "FeatureCache", origin: str, notes: list[str]) -> None:
    """Refuse an audit whose photos the cache does not hold; add a sentence where some of them are missing."""
    named = {entry.id for each in found.lists for entry in each.entries}
    missing = named - {*cache.ids}
    if named and len(missing) == len(named):
        raise UsageError(
            f"{origin} is an audit of {found.cache}, and {cache.path} holds none of its "
            f"{counted(len(named), 'photo')}; name an audit of this cache: featcache audit {cache.path} --json > FILE"
        )
    if missing:
        notes.append(
            f"{counted(len(missing), 'photo')} of the audit of {found.cache} are not in {cache.path}; they are shown "
            "without a picture."
        )
