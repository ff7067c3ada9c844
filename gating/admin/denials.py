"""Denials: who was refused what, when, how often, and why."""

from typing import Any

from django.contrib import admin
from unfold.decorators import display

from catalog.admin.filters import TimeFilter
from catalog.admin.words import linked, moment
from catalog.models import Feature
from config.admin.bases import GATE, Menu, RecordAdmin, instant_text
from gating.admin.explained import explained
from gating.admin.subjects import SEARCHED, account, feature, user
from gating.admin.words import DENIAL_REASONS, reason_text
from gating.models import Denial
from gating.selectors.decisions import decision_on_denial


class ReasonFilter(admin.SimpleListFilter):
    """Why the gate refused."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """Return the reasons in words."""
        return list(DENIAL_REASONS.items())

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Return the denials for that reason."""
        return queryset.filter(reason=self.value()) if self.value() else queryset


@admin.register(Denial)
class DenialAdmin(RecordAdmin):
    """Denials: the answer to "why was I blocked at 14:03?"."""

    menu = Menu(GATE, icon="block", order=10)
    empty_message = "The gate has refused nobody yet."
    list_display = (
        "when", account, user, feature, "told", "times", "realm",
    )  # fmt: skip
    list_display_links = ("when", "told")
    list_filter = (("last_at", TimeFilter), ReasonFilter, "realm")
    list_select_related = ("realm", "account", "user")
    search_fields = (*SEARCHED, "reason", "trace_id")
    search_help_text = "Principal, user id, e-mail, feature code, reason, trace id"
    # By time within a realm, as the index has it.
    ordering = ("-realm_id", "-first_at", "-id")
    export_fields = (
        "id", "realm", "account__billing_principal_id", "user__business_user_id",
        "feature_code", "reason", "code", "status", "sentence", "count", "first_at",
        "last_at", "trace_id",
    )  # fmt: skip
    fieldsets = (
        (
            None,
            {"fields": ("told", "reason_label", account, user, "feature_link",
                        "realm")},
        ),
        ("Why", {"fields": ("explanation",)}),
        ("When", {"fields": ("first", "last", "times")}),
        (
            "What the gate knew",
            {
                "fields": ("evidence",),
                "classes": ("collapse",),
                "description": "The request, the facts and the verdict of the first "
                "denial of that minute: enough to make the same decision again.",
            },
        ),
        ("For engineers", {"fields": ("id", "http_status", "error_code", "trace_id")}),
    )  # fmt: skip

    @display(description="When (UTC)", ordering="last_at")
    def when(self, denial: Denial) -> Any:
        """Return when it happened last."""
        return moment(denial.last_at)

    @display(description="What the gate said", ordering="sentence")
    def told(self, denial: Denial) -> str:
        """Return the sentence that the caller was given."""
        return denial.sentence[:1].upper() + denial.sentence[1:]

    @display(description="Why it was refused")
    def explanation(self, denial: Denial) -> Any:
        """Return each check of the decision, made again."""
        return explained(decision_on_denial(denial))

    @display(description="Reason", ordering="reason")
    def reason_label(self, denial: Denial) -> str:
        """Return the reason in words."""
        return reason_text(denial.reason, DENIAL_REASONS)

    @display(description="Times", ordering="count")
    def times(self, denial: Denial) -> str:
        """Return how often it happened in that minute."""
        return "Once" if denial.count == 1 else f"{denial.count:,} times in 1 minute"

    @display(description="HTTP status")
    def http_status(self, denial: Denial) -> int:
        """Return the status of the answer."""
        return denial.status

    @display(description="Error code")
    def error_code(self, denial: Denial) -> str:
        """Return the stable code of the answer."""
        return denial.code

    @display(description="First")
    def first(self, denial: Denial) -> str:
        """Return when it happened first in that minute."""
        return instant_text(denial.first_at)

    @display(description="Last")
    def last(self, denial: Denial) -> str:
        """Return when it happened last in that minute."""
        return instant_text(denial.last_at)

    @display(description="Feature")
    def feature_link(self, denial: Denial) -> Any:
        """Return the feature, as a link; its code where it is gone."""
        if not denial.feature_code:
            return feature(denial)
        found = Feature.objects.in_realm(denial.realm_id).filter(
            feature_code=denial.feature_code
        )
        return linked(found.first(), denial.feature_code)
