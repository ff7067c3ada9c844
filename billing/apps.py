from django.apps import AppConfig


class BillingConfig(AppConfig):
    """Who has what, when: accounts, users, plans, entitlements, assignments."""

    name = "billing"
    verbose_name = "Accounts and plans"

    def ready(self) -> None:
        """Give every new realm its default plan; check what refers to this app."""
        from billing.services.plans import create_default_plan
        from billing.services.references import (
            require_known_accounts,
            require_known_default_plan,
        )
        from config.tenancy.services.events import subscribe

        subscribe("realm.created", create_default_plan)
        subscribe("realm.changed", require_known_default_plan)
        subscribe("service_key.created", require_known_accounts)
