from typing import Self

from django.db import models
from django.db.models import Q

from catalog.models.rules import in_one_realm, is_given, is_object, is_one_of
from config.kernel.codes import CODE_PATTERN, KEY_PATTERN
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, RealmQuerySet, Row

DEFAULT_BUNDLE_KEY = "__default_bundle__"
UNLIMITED_POLICY_NAME = "__base_unlimited__"


class BundleStatus(models.TextChoices):
    """Whether a bundle's policies govern anybody."""

    ACTIVE = "active", "Active"
    DISABLED = "disabled", "Disabled"


class GatePolicyBundleQuerySet(RealmQuerySet["GatePolicyBundle"]):
    """Reads of policy bundles."""

    def matching(self, *, text: str | None, status: str | None) -> Self:
        """Return the bundles with `text` in key or name, and of that status."""
        found = self if status is None else self.filter(status=status)
        if not text:
            return found
        return found.filter(Q(bundle_key__icontains=text) | Q(name__icontains=text))


class GatePolicyBundle(Row):
    """A set of policies that plans refer to by its key.

    Metadata contract: see docs/metadata.md; nothing in a bundle's is ever read.
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    bundle_key = models.TextField()
    name = models.TextField(blank=True, default="")
    status = models.TextField(choices=BundleStatus, default=BundleStatus.ACTIVE)
    metadata = models.JSONField(default=dict, blank=True)

    objects = GatePolicyBundleQuerySet.as_manager()
    history = AuditedRecords(table_name="gate_policy_bundles_history")

    class Meta:
        db_table = "gate_policy_bundles"
        verbose_name = "policy bundle"
        constraints = [
            in_one_realm(name="gate_policy_bundle_in_one_realm"),
            models.UniqueConstraint(
                fields=["realm", "bundle_key"],
                name="gate_policy_bundle_key_once_per_realm",
                violation_error_message="This realm has a bundle of that key.",
            ),
            models.CheckConstraint(
                name="gate_policy_bundle_key_is_plain",
                condition=Q(bundle_key__regex=KEY_PATTERN),
                violation_error_message=(
                    "A key is 1 to 128 lower-case letters, digits or . _ / @ : -"
                ),
            ),
            is_one_of(
                "status", BundleStatus, name="gate_policy_bundle_status_is_known"
            ),
            is_object("metadata", name="gate_policy_bundle_metadata_is_object"),
        ]

    def __str__(self) -> str:
        return self.bundle_key


class PolicyKind(models.TextChoices):
    """What a policy bounds."""

    RATE = "rate", "Requests in a window"
    QUOTA = "quota", "Quantity in a window"
    SEATS = "seats", "Users with a seat"


class SubjectScope(models.TextChoices):
    """Whose use is counted together."""

    USER = "user", "Each user"
    ACCOUNT = "account", "The whole account"


class PolicyStatus(models.TextChoices):
    """A policy's label; all but `disabled` govern alike."""

    DEFAULT = "default", "Default"
    ASSIGNABLE = "assignable", "Assignable"
    CEILING = "ceiling", "Ceiling"
    DISABLED = "disabled", "Disabled"


class EnforcementMode(models.TextChoices):
    """Whether a quota holds what is authorized until it is committed."""

    RESERVE = "reserve", "Hold at authorize: never over-admits"
    OPTIMISTIC = "optimistic", "Count at commit: admits while anything is left"


class GatePolicyQuerySet(RealmQuerySet["GatePolicy"]):
    """Reads of gate policies."""

    def matching(self, *, text: str | None, **exact: object) -> Self:
        """Return the policies with `text` in name or feature, equal in what is given.

        A filter of None is no filter.
        """
        given = {name: value for name, value in exact.items() if value is not None}
        found = self.filter(**given)
        if not text:
            return found
        return found.filter(Q(name__icontains=text) | Q(feature_code__icontains=text))


class GatePolicy(Row):
    """A limit on one feature, or on every feature (`*`) that no other policy names.

    `limit_minor` is a quota's, `limit_count` a rate's or of seats; NULL is unlimited.
    Windows are aligned to the Unix epoch.
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    bundle = models.ForeignKey(
        GatePolicyBundle, models.PROTECT, related_name="policies", db_index=False
    )
    name = models.TextField()
    description = models.TextField(blank=True, default="")
    feature_code = models.TextField(
        help_text="The feature, or * for every feature without a policy of its own."
    )
    kind = models.TextField(choices=PolicyKind)
    subject_scope = models.TextField(choices=SubjectScope, default=SubjectScope.USER)
    unit = models.TextField(help_text="What is counted: request, token, seat …")
    window_sec = models.PositiveIntegerField(
        help_text="Length of the window in seconds; 0 for seats that are kept."
    )
    limit_count = models.BigIntegerField(null=True, blank=True)
    limit_minor = models.BigIntegerField(null=True, blank=True)
    status = models.TextField(choices=PolicyStatus, default=PolicyStatus.ASSIGNABLE)
    enforcement_mode = models.TextField(
        choices=EnforcementMode, default=EnforcementMode.RESERVE
    )
    metadata = models.JSONField(default=dict, blank=True)

    objects = GatePolicyQuerySet.as_manager()
    history = AuditedRecords(table_name="gate_policies_history")

    class Meta:
        db_table = "gate_policies"
        verbose_name = "gate policy"
        verbose_name_plural = "gate policies"
        constraints = [
            in_one_realm(name="gate_policy_in_one_realm"),
            models.UniqueConstraint(
                fields=["realm", "name"],
                name="gate_policy_name_once_per_realm",
                violation_error_message="This realm has a policy of that name.",
            ),
            *[
                models.UniqueConstraint(
                    fields=[
                        "realm",
                        "feature_code",
                        "kind",
                        "subject_scope",
                        "unit",
                        "window_sec",
                    ],
                    condition=Q(status=status),
                    name=f"gate_policy_one_{status}_per_shape",
                    violation_error_message=(
                        f"This realm has a {status} policy of that feature, kind, "
                        "scope, unit and window."
                    ),
                )
                for status in ("default", "ceiling")
            ],
            models.CheckConstraint(
                name="gate_policy_feature_is_code_or_wildcard",
                condition=Q(feature_code="*") | Q(feature_code__regex=CODE_PATTERN),
                violation_error_message="Name a feature's code, or * for any.",
            ),
            is_given(
                "name",
                name="gate_policy_name_is_given",
                message="A policy needs a name.",
            ),
            is_given(
                "unit", name="gate_policy_unit_is_given", message="Say what is counted."
            ),
            is_one_of("kind", PolicyKind, name="gate_policy_kind_is_known"),
            is_one_of("subject_scope", SubjectScope, name="gate_policy_scope_is_known"),
            is_one_of("status", PolicyStatus, name="gate_policy_status_is_known"),
            is_one_of(
                "enforcement_mode", EnforcementMode, name="gate_policy_mode_is_known"
            ),
            models.CheckConstraint(
                name="gate_policy_limit_fits_kind",
                condition=Q(kind="quota", limit_count__isnull=True)
                | Q(kind="rate", limit_count__isnull=False, limit_minor__isnull=True)
                | Q(kind="seats", limit_minor__isnull=True),
                violation_error_message=(
                    "A quota has limit_minor, a rate and seats have limit_count."
                ),
            ),
            models.CheckConstraint(
                name="gate_policy_limit_is_not_negative",
                condition=(Q(limit_count__isnull=True) | Q(limit_count__gte=0))
                & (Q(limit_minor__isnull=True) | Q(limit_minor__gte=0)),
                violation_error_message="A limit is 0 or more; none is unlimited.",
            ),
            models.CheckConstraint(
                name="gate_policy_window_is_positive_unless_seats",
                condition=Q(window_sec__gt=0) | Q(kind="seats"),
                violation_error_message="A window lasts 1 second or more.",
            ),
            models.CheckConstraint(
                name="gate_policy_seats_are_counted_in_seats",
                condition=~Q(kind="seats") | Q(unit="seat"),
                violation_error_message="The unit of seats is seat.",
            ),
            is_object("metadata", name="gate_policy_metadata_is_object"),
        ]
        indexes = [
            models.Index(fields=["realm", "bundle"], name="gate_policies_by_bundle")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def limit(self) -> int | None:
        """Return the limit of the policy's kind; None is unlimited."""
        return self.limit_minor if self.kind == PolicyKind.QUOTA else self.limit_count
