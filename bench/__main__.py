"""`python -m bench`: what `make bench` runs."""

import os
import sys

from bench.options import read_options
from config.secrets import data_dir

FOLDER = "bench"
"""The data folder of the measurements' own, in that of the installation."""


def main() -> int:
    """Read the command line, load the project, and measure."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    # Before the settings are read, and for the server as well.
    os.environ["PLANGATE_DATA_DIR"] = str(data_dir() / FOLDER)
    import django

    django.setup(set_prefix=False)
    from bench.command import main as run
    from bench.rounds import NAMES

    return run(read_options(sys.argv[1:], NAMES))


if __name__ == "__main__":
    sys.exit(main())
