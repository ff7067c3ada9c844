from django.apps import AppConfig


class DemoConfig(AppConfig):
    """A realm to look at, and the command that brings everything up."""

    name = "demo"
