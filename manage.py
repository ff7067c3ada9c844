#!/usr/bin/env python
"""Plangate's command line."""

import os
import sys

# These work without a database, or manage it themselves.
WITHOUT_DATABASE = {
    "database",
    "help",
    "spectacular",
    "collectstatic",
    "version",
    "--help",
    "--version",
}


def main() -> None:
    """Run a management command, starting the embedded database where one is needed."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line

    from config.database import EmbeddedDatabaseError, ensure_running

    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    try:
        if command not in WITHOUT_DATABASE:
            ensure_running()
        execute_from_command_line(sys.argv)
    except EmbeddedDatabaseError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
