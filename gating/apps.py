from django.apps import AppConfig


class GatingConfig(AppConfig):
    """May they: policies, leases, counters, ratings."""

    name = "gating"
    verbose_name = "Gate"

    def ready(self) -> None:
        """Check the options; give new realms their bundle; let ledgers be proven."""
        from config.tenancy.services.events import subscribe
        from gating.options import options
        from gating.selectors.funds import (
            PAID_BY,
            held_by_leases,
            known_ratings,
            paid_ratings,
            ratings_kept_from,
        )
        from gating.services.bundle_keys import require_known_bundle
        from gating.services.provisioning import create_default_bundle
        from grants.selectors.readers import (
            UseLookup,
            register_hold_reader,
            register_use_lookup,
            register_use_reader,
        )

        options()
        register_hold_reader(held_by_leases)
        register_use_reader(paid_ratings)
        register_use_lookup(PAID_BY, UseLookup(known_ratings, ratings_kept_from))
        subscribe("realm.created", create_default_bundle)
        subscribe("plan_assignment.changed", require_known_bundle)
