class EmbeddedDatabaseError(Exception):
    """The database cannot do what was asked; `str()` is a sentence for people."""


class DatabaseStartError(EmbeddedDatabaseError):
    """PostgreSQL cannot be started; ends with the last lines of its log, if any."""

    def __init__(self, sentence: str, log: str = "") -> None:
        super().__init__(f"{sentence}\nIts log ends with:\n{log}" if log else sentence)


class DatabaseStopError(EmbeddedDatabaseError):
    """PostgreSQL was asked to stop and still runs."""


class DatabaseSettingsError(EmbeddedDatabaseError):
    """The environment variables or the role asked for make no sense together."""
