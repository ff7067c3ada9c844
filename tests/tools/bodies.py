"""A valid request for every operation, in terms of a world's rows."""

from config.kernel.clock import now
from config.kernel.ids import new_id
from grants.services.resync import preview_plan_grants

IDS = {
    "billing_account_id": lambda world: world.account.pk,
    "billing_user_id": lambda world: world.user.pk,
    "assignment_id": lambda world: world.assignment.pk,
    "plan_id": lambda world: world.plan.pk,
    "bpe_id": lambda world: world.entitlement.pk,
    "feature_family_id": lambda world: world.family.pk,
    "feature_id": lambda world: world.feature.pk,
    "meter_id": lambda world: world.meter.pk,
    "policy_id": lambda world: world.policy.pk,
    "lease_id": lambda world: world.lease.removeprefix("lease."),
    "budget_id": lambda world: world.budget.pk,
    "decision_id": lambda world: world.lease.removeprefix("lease."),
    "posting_id": lambda world: world.adjustment.pk,
    "bundle_id": lambda world: world.bundle.pk,
    "contract_id": lambda world: world.contract.pk,
    "program_id": lambda world: world.program.pk,
    "campaign_id": lambda world: world.campaign.pk,
    "grant_assignment_id": lambda world: world.grant_assignment.pk,
    "grant_id": lambda world: world.grant.pk,
}
"""By the name of an id in an address: the row of a world that it stands for."""


FILTER_IDS = {
    ("list_grants", "assignment_id"): lambda world: world.grant_assignment.pk,
}
"""By operation and filter: the row, where the name stands for another one there."""


METER = {
    "meter_code": "images",
    "unit": "image",
    "meter_prices": {
        "unit_price_xusd": "5",
        "unit_quantity_minor": "1",
        "unit_cost_xusd": "1",
        "cost_unit_quantity_minor": "1",
    },
}


def _switch(plan):
    return lambda world: {"plan_id": str(plan(world).pk), "source_ref": "order-2"}


BODIES = {
    "apply_billing_plan_grants": lambda world: {
        "confirmed_fingerprint": preview_plan_grants(plan=world.plan, at=now()).fingerprint,
    },
    "consume_wallet": lambda world: {"amount_xusd": "1"},
    "create_wallet_adjustment": lambda world: {
        "billing_user_id": str(world.user.pk), "amount_xusd": "5", "reason": "goodwill",
    },
    "reverse_wallet_adjustment": lambda world: {"reason": "a mistake"},
    "update_billing_account": lambda world: {"seat_limit": 7},
    "update_billing_account_billing_details": lambda world: {
        "billing_email": "ada@example.com", "legal_name": "Acme", "entity_type": "company", "metadata": {},
        "default_address": {"line1": "1 Main St", "city": "Paris", "country_code": "FR"},
        "tax_ids": [{"type": "eu_vat", "value": "FR123456789"}],
    },
    "create_billing_user": lambda world: {"user_id": "u-new", "display_name": "Ada", "email": "ada@example.com", "metadata": {}},
    "update_billing_user": lambda world: {"display_name": "Ada", "metadata": {}},
    "disable_billing_user": lambda world: {},
    "restore_billing_user": lambda world: {},
    "create_billing_plan_assignment": lambda world: {
        "billing_account_id": str(world.account.pk), "assignment_scope": "user", "billing_user_id": str(world.user.pk),
        "plan_id": str(world.plan.pk), "source_kind": "ops.manual", "source_ref": "order-9", "window_start": "2026-03-01T00:00:00Z",
        "window_end": "2030-03-01T00:00:00Z", "status": "active", "metadata": {}, "subscription_item_id": str(new_id()),
    },
    "update_billing_plan_assignment": lambda world: {"window_end": "2031-01-01T00:00:00Z", "metadata": {"note": "x"}},
    "extend_billing_plan_assignment": lambda world: {"window_end": None},
    "end_billing_plan_assignment": lambda world: {},
    "pause_billing_plan_assignment": lambda world: {},
    "resume_billing_plan_assignment": lambda world: {},
    "cancel_billing_plan_assignment": lambda world: {},
    "upgrade_billing_plan_assignment": _switch(lambda world: world.higher_plan),
    "downgrade_billing_plan_assignment": _switch(lambda world: world.lower_plan),
    "upsert_billing_plan": lambda world: {
        "plan_code": "team", "name": "Team", "kind": "base", "priority": 5, "active": True, "metadata": {},
        "feature_codes": ["chat"], "feature_family_codes": ["ai"],
    },
    "update_billing_plan": lambda world: {"name": "Pro 2", "priority": 11, "metadata": {}},
    "upsert_billing_plan_entitlements": lambda world: {"mode": "append", "items": [{"feature_family_code": "ai", "effect": "allow"}]},
    "delete_billing_plan_entitlement": lambda world: {},
    "upsert_feature_family": lambda world: {"feature_family_code": "vision", "name": "Vision", "metadata": {}},
    "update_feature_family": lambda world: {"name": "AI 2"},
    "delete_feature_family": lambda world: {},
    "upsert_feature": lambda world: {
        "feature_code": "draw", "feature_family_id": str(world.family.pk), "name": "Draw", "unit": "image", "meters": [METER],
    },
    "update_feature": lambda world: {"name": "Chat 2", "meters": [METER]},
    "delete_feature": lambda world: {},
    "upsert_meter": lambda world: {**METER, "scale": 2},
    "update_meter": lambda world: {"unit": "token", "meter_prices": METER["meter_prices"]},
    "create_gate_policy": lambda world: {
        "bundle_id": str(world.bundle.pk), "name": "new", "feature_code": "chat", "kind": "quota", "unit": "token",
        "window_sec": 60, "limit_minor": "5",
    },
    "update_gate_policy": lambda world: {"description": "x", "limit_minor": "6"},
    "delete_gate_policy": lambda world: {},
    "upsert_gate_policy_bundle": lambda world: {"bundle_key": "team", "name": "Team"},
    "update_gate_policy_bundle": lambda world: {"name": "Pro 2"},
    "delete_gate_policy_bundle": lambda world: {},
    "release_gate_hold": lambda world: {"audit": {"reason": "stuck"}},
    "commit_gate_hold": lambda world: {
        "quantity_minor": "1", "labels": {"team": "a"}, "meters": [{"meter_code": "chat", "quantity_minor": "1"}],
    },
    "gate_authorize": lambda world: {"feature_code": "chat", "estimated_quantity_minor": "1"},
    "gate_authorize_batch": lambda world: {"items": [{"idempotency_key": "batch-1", "feature_code": "chat"}]},
    "gate_commit_batch": lambda world: {
        "items": [
            {"idempotency_key": "batch-1", "lease": world.lease, "feature_code": "chat", "quantity_minor": "1"}
        ]
    },
    "gate_preflight": lambda world: {"feature_code": "chat", "estimated_quantity_minor": "1"},
    "simulate_gate_decisions": lambda world: {
        "from": "2026-03-01T00:00:00Z", "to": "2026-04-01T00:00:00Z", "billing_account_id": str(world.account.pk), "feature_code": "chat",
        "draft": {
            "bundle": {"bundle_key": "pro", "policies": [{"policy_id": str(world.policy.pk), "limit_minor": "1"}]},
            "plan": {"plan_id": str(world.plan.pk), "entitlements": {"mode": "append", "items": [{"feature_code": "chat", "effect": "deny"}]}},
        },
    },
    "gate_cancel": lambda world: {"lease": world.lease},
    "gate_commit": lambda world: {
        "lease": world.lease, "feature_code": "chat", "quantity_minor": "1", "labels": {"team": "a"},
        "meters": [{"meter_code": "chat", "quantity_minor": "1"}],
    },
    "upsert_billing_contract": lambda world: {
        "effective_at": "2026-04-01T00:00:00Z", "status": "active", "name": "Enterprise 2", "metadata": {}, "window_end": "2030-04-01T00:00:00Z",
    },
    "update_billing_contract": lambda world: {"status": "active", "name": "Enterprise 3", "metadata": {}, "window_end": "2030-04-01T00:00:00Z"},
    "upsert_contract_term": lambda world: {
        "kind": "pricing", "term_key": "chat", "effective_at": "2026-04-01T00:00:00Z",
        "value_json": {
            "schema": "billing/contract_pricing:v2", "meter_code": "chat",
            "price": {"adjustments": [{"op": "multiplier", "multiplier": "0.8"}]},
        },
    },
    "gate_ingest": lambda world: {
        "feature_code": "chat", "quantity_minor": "1", "labels": {"team": "a"}, "metadata": {"run": 7},
        "meters": [{"meter_code": "chat", "quantity_minor": "1"}],
    },
    "create_budget": lambda world: {
        "budget": "trip-2", "name": "Trip", "scope_kind": "feature_set", "scope_payload": {"feature_set": ["chat"]}, "limit_xusd": "500",
        "window_start": "2026-03-01T00:00:00Z", "window_end": "2030-03-01T00:00:00Z", "metadata": {},
    },
    "create_grant_program": lambda world: {
        "program_code": "fresh", "name": "Fresh", "active": True, "cadence": "monthly", "issue_anchor": "binding_start",
        "grant_kind": "promo", "amount_xusd": "5", "window_kind": "period", "window_default_seconds": 60, "priority": 3,
        "on_ledger": True, "outstanding_application_policy": "never", "issuance_mode": "eager", "periodic_accounting": False,
        "accrual_mode": "full_at_period_start", "eligibility_kind": "manual", "eligibility_payload": {}, "metadata": {},
    },
    "update_grant_program": lambda world: {
        "name": "Hello", "active": True, "amount_xusd": "6", "window_default_seconds": 60, "priority": 4,
        "outstanding_application_policy": "never", "issuance_mode": "hybrid", "metadata": {},
    },
    "create_grant_campaign": lambda world: {
        "name": "Summer", "status": "active", "window_start": "2026-03-01T00:00:00Z", "window_end": "2030-03-01T00:00:00Z",
        "event_type": "shop.order_paid", "payload_match": {"plan": "pro"}, "assignment_trigger": "every_match",
        "target_filter": {"billing_account_ids": [str(world.account.pk)]},
        "metadata": {"grants": [{"grant_program_code": "welcome", "amount_xusd": "7"}]},
    },
    "update_grant_campaign": lambda world: {"name": "Autumn", "window_end": "2031-01-01T00:00:00Z"},
    "delete_grant_campaign": lambda world: {},
    "create_grant_assignment": lambda world: {
        "billing_account_id": str(world.account.pk), "billing_user_id": str(world.user.pk), "program_id": str(world.program.pk),
        "source_kind": "ops.manual", "source_ref": "T-1", "window_start": "2026-03-01T00:00:00Z", "amount_xusd": "5",
        "window_end": "2030-03-01T00:00:00Z", "outstanding_application_policy_override": "never", "metadata": {},
    },
    "update_grant_assignment": lambda world: {
        "window_end": "2031-01-01T00:00:00Z", "status": "active", "amount_xusd": "8",
        "outstanding_application_policy_override": "never", "metadata": {"note": "x"},
    },
    "create_grant": lambda world: {
        "billing_account_id": str(world.account.pk), "billing_user_id": str(world.user.pk), "mode": "program", "kind": "promo",
        "priority": 4, "program_id": str(world.program.pk), "amount_xusd": "5", "window_start": "2026-03-01T00:00:00Z",
        "window_end": "2100-03-01T00:00:00Z", "source": {"kind": "ops.manual", "ref": "T-2", "note": "x"},
        "outstanding_application_policy": "never", "metadata": {"team": "care"},
    },
    "update_grant": lambda world: {"issuance_status": "suspended", "metadata": {"team": "care"}},
    "close_budget": lambda world: {"reason": "the trip is over", "metadata": {}},
    "credit_billing_user": lambda world: {"amount_xusd": "5", "source_ref": "gift"},
    "issue_platform_token": lambda world: {"principal_id": world.principal, "user_id": "u-1", "scopes": ["portal"]},
}  # fmt: skip
"""By operation: a body that it accepts."""


def body_of(route, world):
    """Return a valid body of a route's operation, None where it takes none."""
    if route.operation.body is None:
        return None
    return BODIES[route.operation.name](world)


def path_of(route, world, **other):
    """Return a route's address with a world's own ids, or other ones."""
    return route.path(
        **{name: other.get(name) or IDS[name](world) for name in route.parameters}
    )
