"""Errors that a user can act on: one sentence that says what is wrong and how to mend it."""

from __future__ import annotations


class GnnFusionError(Exception):
    """A failure the user can mend; the command line prints it and exits with `exit_code`."""

    exit_code = 1


class UsageError(GnnFusionError):
    """The request itself is wrong (an unknown name, a setting that does not fit)."""

    exit_code = 2


class SchemaError(UsageError):
    """The schema is malformed or does not fit its table."""


class DataError(GnnFusionError):
    """A value of the table or one of its files cannot be used."""


class StoreError(GnnFusionError):
    """A graph store is missing, truncated or of another format."""


class RunError(GnnFusionError):
    """A run folder or checkpoint is missing, incomplete or of another schema."""


class MissingExtraError(GnnFusionError):
    """An optional part is needed and not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the package {package!r}; "
            f"install it with: pip install 'gnnfusion[{extra}]'"
        )
        self._made_of = (what, package, extra)

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        # Worker processes send it back; the default would call __init__ with the sentence alone.
        return type(self), self._made_of
