from django.apps import AppConfig


class TenancyConfig(AppConfig):
    """Realms, service keys, request authentication, roles, idempotency, history."""

    name = "config.tenancy"
    label = "tenancy"
    verbose_name = "Realms and access"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks of a deployment."""
        from config.tenancy import checks

        self.checks = checks
