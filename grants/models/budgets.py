from collections.abc import Iterable
from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from billing.models import BillingAccount, BillingUser
from catalog.models.rules import is_object, is_one_of
from config.kernel.money import INT64_MAX
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, RealmQuerySet, Row


class BudgetScope(models.TextChoices):
    """Which features a budget may be named for."""

    GLOBAL = "global", "Every feature"
    FEATURE = "feature", "One feature"
    FEATURE_SET = "feature_set", "Some features"


class BudgetStatus(models.TextChoices):
    """How a budget stands at an instant; computed, and so never stored."""

    ACTIVE = "active", "Active"
    CLOSED = "closed", "Closed"
    EXPIRED = "expired", "Expired"


class BudgetQuerySet(RealmQuerySet["Budget"]):
    """Reads of budgets."""

    def of_status(self, statuses: Iterable[str], *, at: datetime) -> "BudgetQuerySet":
        """Return the budgets that stand in one of the ways at `at` (aware UTC).

        A status that no budget ever has finds none.
        """
        closed, none = Q(closed_at__isnull=False), Q(pk__in=[])
        ended = Q(window_end__isnull=False, window_end__lte=at)
        standing: dict[str, Q] = {
            BudgetStatus.CLOSED: closed,
            BudgetStatus.EXPIRED: ~closed & ended,
            BudgetStatus.ACTIVE: ~closed & ~ended,
        }
        wanted = none
        for status in statuses:
            wanted |= standing.get(status, none)
        return self.filter(wanted)

    def with_left(self) -> "BudgetQuerySet":
        """Return the budgets with `left_xusd`: NULL where they are unlimited."""
        left = F("limit_xusd") - F("consumed_xusd") - F("reserved_xusd")
        return self.annotate(left_xusd=left)


class Budget(Row):
    """A cap on what a user may spend on a piece of work, known by a reference.

    `limit_xusd` None is unlimited, a bound that is None open. What authorize and commit
    change, `consumed_xusd` and `reserved_xusd`, is no history: leases and ratings are
    its record. The terms are fixed, because decisions were made on them.
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    account = models.ForeignKey(
        BillingAccount, models.PROTECT, related_name="budgets", db_index=False
    )
    user = models.ForeignKey(
        BillingUser, models.PROTECT, related_name="budgets", db_index=False
    )
    reference = models.TextField(
        help_text="The name that callers know it by; its own id where they gave none."
    )
    name = models.TextField(blank=True, default="")
    scope_kind = models.TextField(choices=BudgetScope, default=BudgetScope.GLOBAL)
    feature_codes = ArrayField(
        models.TextField(), null=True, help_text="Empty means every feature."
    )
    limit_xusd = models.BigIntegerField(null=True, help_text="Empty means unlimited.")
    consumed_xusd = models.BigIntegerField(default=0)
    reserved_xusd = models.BigIntegerField(default=0)
    window_start = models.DateTimeField(
        null=True, help_text="Empty means that it has always held."
    )
    window_end = models.DateTimeField(
        null=True, help_text="Empty means open: it never ends."
    )
    closed_at = models.DateTimeField(null=True)
    metadata = models.JSONField(default=dict, blank=True)

    objects = BudgetQuerySet.as_manager()
    history = AuditedRecords(
        table_name="budgets_history", excluded_fields=["consumed_xusd", "reserved_xusd"]
    )

    class Meta:
        db_table = "budgets"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "account", "user", "id"], name="budget_of_one_user"
            ),
            models.UniqueConstraint(
                fields=["realm", "user", "reference"],
                name="budget_reference_once_per_user",
                violation_error_message="This user already has a budget of that name.",
            ),
            models.CheckConstraint(
                name="budget_reference_is_1_to_255_characters",
                condition=Q(reference__regex=r"\A.{1,255}\Z")
                & Q(reference__regex=r"\S"),
                violation_error_message="A reference has 1 to 255 characters.",
            ),
            is_one_of("scope_kind", BudgetScope, name="budget_scope_is_known"),
            models.CheckConstraint(
                name="budget_features_fit_its_scope",
                condition=Q(scope_kind=BudgetScope.GLOBAL, feature_codes__isnull=True)
                | Q(
                    scope_kind=BudgetScope.FEATURE,
                    feature_codes__isnull=False,
                    feature_codes__len=1,
                )
                | Q(
                    scope_kind=BudgetScope.FEATURE_SET,
                    feature_codes__isnull=False,
                    feature_codes__len__gte=1,
                )
                | ~Q(scope_kind__in=BudgetScope.values),
                violation_error_message="A scoped budget names its features.",
            ),
            models.CheckConstraint(
                name="budget_amounts_are_not_negative",
                condition=Q(consumed_xusd__gte=0, reserved_xusd__gte=0)
                & (Q(limit_xusd__isnull=True) | Q(limit_xusd__gte=0)),
                violation_error_message="The amounts of a budget are 0 or more.",
            ),
            models.CheckConstraint(
                name="budget_reserves_within_its_limit",
                condition=Q(limit_xusd__isnull=True)
                | Q(reserved_xusd__lte=F("limit_xusd")),
                violation_error_message="A budget reserves no more than its limit.",
                violation_error_code="BUDGET.EXHAUSTED",
            ),
            models.CheckConstraint(
                # A difference, because a sum of two large amounts would overflow.
                name="budget_fits_64_bits",
                condition=Q(consumed_xusd__lte=INT64_MAX - F("reserved_xusd")),
                violation_error_message="The amounts of a budget have 64 bits.",
            ),
            models.CheckConstraint(
                name="budget_window_not_empty",
                condition=Q(window_end__isnull=True)
                | Q(window_start__isnull=True)
                | Q(window_end__gt=F("window_start")),
                violation_error_message="A window must end after it starts.",
            ),
            is_object("metadata", name="budget_metadata_is_object"),
        ]

    def __str__(self) -> str:
        return self.name or self.reference

    @property
    def room_xusd(self) -> int:
        """Return what may still be reserved or consumed; 64 bits where unlimited."""
        limit = INT64_MAX if self.limit_xusd is None else self.limit_xusd
        return limit - self.consumed_xusd - self.reserved_xusd

    @property
    def remaining_xusd(self) -> int | None:
        """Return the limit less what was consumed, below 0 once passed; None: no limit.

        What leases hold is not taken off: it may still be given back.
        """
        if self.limit_xusd is None:
            return None
        return self.limit_xusd - self.consumed_xusd

    def status(self, *, at: datetime) -> BudgetStatus:
        """Return how the budget stands at `at` (aware UTC)."""
        if self.closed_at is not None:
            return BudgetStatus.CLOSED
        if self.window_end is not None and self.window_end <= at:
            return BudgetStatus.EXPIRED
        return BudgetStatus.ACTIVE
