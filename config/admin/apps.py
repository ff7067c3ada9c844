"""The admin as an app: `config.settings.INSTALLED_APPS` names this class.

Which models appear is decided in two places: each app registers its own in its
`admin` module or package, found by Django's autodiscovery; what stands below the
admin in the import order (realms, keys) or comes from elsewhere (users, the job
queue, sign-in records) is registered by `config.admin.registrations`, which is
imported after them, so that it has the last word.
"""

from importlib import import_module

from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class AdminConfig(DjangoAdminConfig):
    """The admin on Plangate's own site."""

    default = False
    default_site = "config.admin.site.PlangateSite"

    def ready(self) -> None:
        """Find every app's screens, then register and replace what is ours."""
        super().ready()
        import_module("config.admin.registrations")
