"""What the web server loads."""

import gc
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# Requests are served by the role that owns nothing and cannot rewrite history.
os.environ.setdefault("PLANGATE_DATABASE_ROLE", "app")
django.setup(set_prefix=False)

from config.api.requests import Handler  # noqa: E402 - after the setup.
from config.cores import keep_to_a_core  # noqa: E402
from config.secrets import data_dir  # noqa: E402

if os.environ.get("PLANGATE_KEEP_TO_CORES") == "1":
    keep_to_a_core(data_dir() / "cores")

application = Handler()
# What was loaded stays: looking through it for garbage took 8 % of a request here.
gc.collect()
gc.freeze()
