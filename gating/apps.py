from django.apps import AppConfig


class GatingConfig(AppConfig):
    """May they: policies, leases, counters, ratings."""

    name = "gating"
    verbose_name = "Gate"

    def ready(self) -> None:
        """Check the deployment's options; give every new realm its default bundle."""
        from config.tenancy.services.events import subscribe
        from gating.options import options
        from gating.services.bundle_keys import require_known_bundle
        from gating.services.provisioning import create_default_bundle

        options()
        subscribe("realm.created", create_default_bundle)
        subscribe("plan_assignment.changed", require_known_bundle)
