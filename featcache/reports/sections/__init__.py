"""The sections of a report: each returns a `Section`, or ``None`` where there is nothing to show."""
