"""Errors that callers may want to catch by name."""

__all__ = ["FormatError"]


class FormatError(ValueError):
    """A file is not what its format demands: truncated, damaged or of another kind; nothing was taken from it."""
