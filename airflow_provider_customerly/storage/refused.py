"""The error for what a retry would not help."""


class RefusedError(ValueError):
    """The request cannot work with the existing files or settings. A retry would not help."""
