"""The words of programs, assignments and grants, as the wire spells them."""

from typing import Literal

CadenceName = Literal[
    "once", "daily", "weekly", "monthly", "quarterly", "yearly", "billing_period"
]
Anchor = Literal["calendar_start", "binding_start", "first_use", "billing_period_start"]
KindName = Literal[
    "grant",
    "sponsorship",
    "promo",
    "credit",
    "cash",
    "wallet",
    "rollover",
    "nonexpiring",
    "fallback",
    "other",
]
WindowKindName = Literal["period", "fixed", "forever", "relative_duration"]
Mode = Literal["eager", "lazy", "hybrid"]
Policy = Literal["never", "apply_to_outstanding"]
AccrualMode = Literal["full_at_period_start", "earn_daily"]
EligibilityKind = Literal["manual", "all_accounts", "subscription_group"]

CampaignStatusName = Literal["scheduled", "active", "paused", "ended"]
Trigger = Literal["first_match", "every_match"]

AssignmentStatusName = Literal["active", "paused", "canceled", "expired"]
SourceName = Literal[
    "billing_payment",
    "billing_plan_assignment",
    "internal.catalog",
    "ops.campaign",
    "ops.manual",
]
ExactSource = Literal[
    "provider.subscription",
    "provider.subscription_item",
    "provider.one_time",
    "billing_payment",
    "wallet.cash",
    "ops.campaign",
    "ops.manual",
    "internal.catalog",
    "billing_plan_assignment",
]

IssuanceStatus = Literal[
    "ready", "active", "suspended", "pending_close", "closed", "canceled"
]
Closure = Literal["forfeit", "refund", "carryover", "none"]
