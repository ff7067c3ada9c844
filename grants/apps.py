from django.apps import AppConfig


class GrantsConfig(AppConfig):
    """What is given: credit, and what was spent of it."""

    name = "grants"
    verbose_name = "Credit"
