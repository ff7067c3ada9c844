from django.db import models
from django.db.models import Q

from catalog.models.rules import in_one_realm, is_code, is_object, is_one_of
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, RealmQuerySet, Row
from grants.models.kinds import (
    Accrual,
    Cadence,
    Eligibility,
    IssuanceMode,
    IssueAnchor,
    LotKind,
    OutstandingPolicy,
    WindowKind,
)

FALLBACK_PROGRAM = "fallback-cash"
"""The realm's own program whose lots hold what is owed."""


class GrantProgram(Row):
    """A template of what is given: how much, how often, and for how long.

    What an issuance is made of never changes, because lots were issued by it: cadence,
    anchor, window kind, ledger, kind, accrual, eligibility. Changes of the rest hold
    for lots issued from then on.
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    program_code = models.TextField()
    name = models.TextField(blank=True, default="")
    active = models.BooleanField(
        default=True, help_text="Whether plans and eligibility may bind it anew."
    )
    cadence = models.TextField(choices=Cadence)
    issue_anchor = models.TextField(
        choices=IssueAnchor, default=IssueAnchor.CALENDAR_START
    )
    grant_kind = models.TextField(choices=LotKind, default=LotKind.GRANT)
    amount_xusd = models.BigIntegerField(
        default=0, help_text="In millionths of a US dollar, where a binding says none."
    )
    window_kind = models.TextField(choices=WindowKind, default=WindowKind.PERIOD)
    window_default_seconds = models.BigIntegerField(
        null=True, blank=True, help_text="How long lots of a relative window last."
    )
    priority = models.IntegerField(
        default=0, help_text="Among lots that end together the higher is spent first."
    )
    on_ledger = models.BooleanField(
        default=False, help_text="Whether its lots count as money paid for."
    )
    outstanding_application_policy = models.TextField(
        choices=OutstandingPolicy,
        default=OutstandingPolicy.NEVER,
        help_text="Whether a new lot first pays what its user owes.",
    )
    issuance_mode = models.TextField(choices=IssuanceMode, default=IssuanceMode.EAGER)
    periodic_accounting = models.BooleanField(default=False)
    accrual_mode = models.TextField(choices=Accrual, null=True, blank=True)  # noqa: DJ001 - NULL: none.
    eligibility_kind = models.TextField(choices=Eligibility, default=Eligibility.MANUAL)
    eligibility_payload = models.JSONField(default=dict, blank=True)
    metadata = models.JSONField(default=dict, blank=True)

    objects = RealmQuerySet.as_manager()
    history = AuditedRecords(table_name="grant_programs_history")

    class Meta:
        db_table = "grant_programs"
        verbose_name = "grant program"
        constraints = [
            in_one_realm(name="grant_program_in_one_realm"),
            models.UniqueConstraint(
                fields=["realm", "program_code"],
                name="grant_program_code_once_per_realm",
                violation_error_message=(
                    "This realm already has a program of that code."
                ),
            ),
            is_code("program_code", name="grant_program_code_is_a_code"),
            is_one_of("cadence", Cadence, name="grant_program_cadence_is_known"),
            is_one_of(
                "issue_anchor", IssueAnchor, name="grant_program_anchor_is_known"
            ),
            is_one_of("grant_kind", LotKind, name="grant_program_kind_is_known"),
            is_one_of("window_kind", WindowKind, name="grant_program_window_is_known"),
            is_one_of(
                "outstanding_application_policy",
                OutstandingPolicy,
                name="grant_program_outstanding_policy_is_known",
            ),
            is_one_of(
                "issuance_mode", IssuanceMode, name="grant_program_mode_is_known"
            ),
            is_one_of("accrual_mode", Accrual, name="grant_program_accrual_is_known"),
            is_one_of(
                "eligibility_kind",
                Eligibility,
                name="grant_program_eligibility_is_known",
            ),
            models.CheckConstraint(
                name="grant_program_amount_is_not_negative",
                condition=Q(amount_xusd__gte=0),
                violation_error_message="An amount is 0 or more.",
            ),
            models.CheckConstraint(
                name="grant_program_window_lasts",
                condition=Q(window_default_seconds__isnull=True)
                | Q(window_default_seconds__gt=0),
                violation_error_message="A relative window lasts 1 second or more.",
            ),
            models.CheckConstraint(
                name="grant_program_billing_periods_are_windows",
                condition=~Q(cadence=Cadence.BILLING_PERIOD)
                | Q(window_kind=WindowKind.PERIOD),
                violation_error_message=(
                    "A program issued per billing period has windows of that period."
                ),
            ),
            is_object(
                "eligibility_payload",
                name="grant_program_eligibility_payload_is_object",
            ),
            is_object("metadata", name="grant_program_metadata_is_object"),
        ]

    def __str__(self) -> str:
        return self.name or self.program_code
