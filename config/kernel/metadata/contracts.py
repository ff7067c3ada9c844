"""The metadata contracts: which JSON keys are the system's, one model per object.

A key that stands here is typed and checked, and behavior reads no other key; which are
read today stands in docs/metadata.md. Any other key, at any level, is the application's
own annotation: kept as given and never read.
"""

from typing import Annotated, Literal

from config.kernel.metadata.fields import (
    NULL_IS_EMPTY,
    Choice,
    Code,
    Contract,
    Days,
    Flag,
    GraceSeconds,
    Instant,
    JsonObject,
    Key,
    Label,
    Seconds,
    TargetCode,
    Text,
    Uuid,
    known,
)
from config.kernel.metadata.grants import CampaignGrants, GrantOverride, Grants
from config.kernel.metadata.seats import SeatLimitField

BillingMode = Literal["prepaid", "postpaid", "hybrid"]
# Where an account's billing period begins; a grant program has anchors of its own.
PeriodAnchor = Literal["calendar_start", "binding_start", "subscription_period_start"]
PeriodCadence = Literal["daily", "weekly", "monthly", "quarterly", "yearly"]
SeatsBillingMode = Literal["assigned", "active_window"]
ResidualMode = Literal["prepaid", "postpaid"]


class PeriodOverride(Contract):
    """How an account is billed while one assignment holds."""

    billing_mode: Choice[BillingMode] = known(
        "Whether usage is paid before, after, or both."
    )
    issue_anchor: Choice[PeriodAnchor] = known(
        "From where the billing periods are counted."
    )


class PeriodDefaults(PeriodOverride):
    """How accounts are billed unless something more specific says otherwise."""

    kind: Label = known("The period rule's name, kept on the period.")
    cadence: Choice[PeriodCadence] = known("How long a billing period is.")
    fixed_days: Days = known("The period's length in days.")
    grace_window_seconds: GraceSeconds = known(
        "Seconds between a period's end and its freeze."
    )


class BillingDefaults(Contract):
    """Billing defaults of a plan or a realm."""

    period: Annotated[PeriodDefaults, NULL_IS_EMPTY] = PeriodDefaults()


class BillingOverrides(Contract):
    """Billing exceptions of one assignment."""

    period: Annotated[PeriodOverride, NULL_IS_EMPTY] = PeriodOverride()


class PlanMetadata(Contract):
    """`billing_plans.metadata`: long-lived defaults of a plan."""

    gate_bundle_key: Key = known(
        "The policy bundle that governs those who hold this plan."
    )
    grants: Grants = known("Grants for those who hold this plan.", default=())
    billing_defaults: Annotated[BillingDefaults, NULL_IS_EMPTY] = BillingDefaults()
    seat_limit: SeatLimitField = known(
        "Seats of a new account, on the realm's default plan only."
    )


class AssignmentMetadata(Contract):
    """`billing_plan_assignments.metadata`: exceptions while one assignment holds.

    The last four keys are the audit annotations that a writer may leave here; no
    decision reads them, but their types hold.
    """

    gate_bundle_key: Key = known("The policy bundle, instead of the plan's.")
    billing: Annotated[BillingOverrides, NULL_IS_EMPTY] = BillingOverrides()
    operator: Text = known("Who asked for this assignment.")
    reason: Text = known("Why.")
    ticket_id: Text = known("The case that justifies it.")
    effective_at: Instant = known("From when it is meant to hold.")


class FeatureFamilyMetadata(Contract):
    """`feature_families.metadata`: annotations and system markers only."""

    auto_registry: JsonObject = known("System state: that the system made it.")


class FeatureMetadata(Contract):
    """`features.metadata`: annotations and system markers only."""

    auto_registry: JsonObject = known("System state: that the system made it.")


class MeterMetadata(Contract):
    """`meters.metadata`."""

    auto_registry: JsonObject = known("System state: that the system made it.")
    residual_mode: Choice[ResidualMode] = known(
        "Bills whole blocks, paid before or after they are used."
    )


class PolicyParams(Contract):
    """`params` of a gate policy: the second place of two keys."""

    feature_code: TargetCode = known(
        "The feature, unless feature_code above names one."
    )
    counter_key: Label = known("The counter, unless counter_key above names one.")


class PolicyMetadata(Contract):
    """`gate_policies.metadata`: `feature_code` outranks `params.feature_code`."""

    feature_code: TargetCode = known(
        "The feature governed, instead of the policy's own."
    )
    counter_key: Label = known("The counter used; policies with the same key share it.")
    params: Annotated[PolicyParams, NULL_IS_EMPTY] = PolicyParams()
    billing_feature_code: Code = known("Seats: the feature that a seat is billed as.")
    billing_meter_code: Code = known(
        "Seats: the activity meter of that feature whose price a seat costs."
    )
    billing_mode: Choice[SeatsBillingMode] = known(
        "Seats: bill every seat assigned in a window, or those seen in use in it."
    )


class BundleMetadata(Contract):
    """`gate_policy_bundles.metadata`: annotations only."""


class RealmMetadata(Contract):
    """`realms.metadata`: defaults and switches of one tenant."""

    billing_defaults: Annotated[BillingDefaults, NULL_IS_EMPTY] = BillingDefaults()
    default_plan_id: Uuid = known("The plan that new users receive.")
    require_audit_fields: Flag = known(
        "Whether writes must state operator, reason, ticket and effective time."
    )


class AccountMetadata(Contract):
    """`billing_accounts.metadata`: annotations only."""


class BillingContractMetadata(Contract):
    """`billing_contracts.metadata`: annotations only."""


class UserMetadata(Contract):
    """`billing_users.metadata`."""

    display_name: Text = known("The name shown to people.")
    email: Text = known("The address shown to people.")
    grants_switch: JsonObject = known(
        "System state: which grants the user was last given."
    )


class GatingMetadata(Contract):
    """`gating` of a product or price."""

    bundle: Key = known("The policy bundle of those who buy it.")


class CatalogMetadata(Contract):
    """What a purchase brings about."""

    billing_plan_code: Label = known("The plan a buyer is assigned.")
    grants: Grants = known("The grants a buyer receives.", default=())
    gating: Annotated[GatingMetadata, NULL_IS_EMPTY] = GatingMetadata()


class CatalogProductMetadata(CatalogMetadata):
    """`catalog_products.metadata`."""


class CatalogPriceMetadata(CatalogMetadata):
    """`catalog_prices.metadata`: outranks the product's, grant program by program."""


class CampaignMetadata(Contract):
    """`grant_campaigns.metadata`."""

    grants: CampaignGrants = known("The grants that the campaign gives.", default=())
    billing_plan_code: Label = known("The plan that those enrolled are assigned too.")
    billing_plan_window_seconds: Seconds = known(
        "Seconds that the plan holds; without them, as long as the campaign."
    )


class GrantAssignmentMetadata(Contract):
    """`grant_assignments.metadata`."""

    grant_override: GrantOverride | None = known(
        "Terms of this one assignment, instead of its program's."
    )


class ProgramEligibility(Contract):
    """`grant_programs.eligibility_payload` of a subscription group's program."""

    subscription_group_id: Uuid = known("The group, by its id.")
    group_key: Key = known("The group, by its key.")
