from django.apps import AppConfig


class GrantsConfig(AppConfig):
    """What is given: credit, and what was spent of it."""

    name = "grants"
    verbose_name = "Credit"

    def ready(self) -> None:
        """Let billing states show what a user has; give what plans and events bring."""
        from billing.selectors.wallets import register_wallet_reader
        from config.tenancy.services.events import subscribe, subscribe_to_all
        from grants.options import approval_limit_xusd
        from grants.selectors.purses import wallet_balance
        from grants.services.campaign_events import give_on_event
        from grants.services.enrollment import (
            enroll_changed,
            enroll_holders,
            enroll_waiting,
        )
        from grants.services.plan_templates import refuse_overage
        from grants.services.programs_builtin import create_builtin_programs
        from grants.services.refresh import enroll_newcomer

        approval_limit_xusd()
        register_wallet_reader(wallet_balance)
        subscribe("realm.created", create_builtin_programs)
        subscribe("plan_assignment.changed", enroll_holders)
        subscribe("plan.changed", refuse_overage)
        subscribe("plan.changed", enroll_waiting)
        subscribe("billing_user.activated", enroll_newcomer)
        subscribe("billing_user.changed", enroll_changed)
        subscribe_to_all(give_on_event)
