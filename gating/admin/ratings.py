"""Ratings: usage that was reported, what it cost, and what of it was applied."""

from typing import Any

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from catalog.admin.bases import ReadOnlyInline
from catalog.admin.filters import TimeFilter
from catalog.admin.words import linked, moment, money, units
from config.admin.bases import (
    GATE,
    NOTHING,
    Menu,
    instant_text,
    json_block,
)
from config.kernel.windows import parse_instant
from gating.admin.rating_figures import RatingFigures
from gating.admin.seats import SEAT_GROUP
from gating.admin.subjects import SEARCHED, account, budget, feature, user
from gating.lengths import age_text
from gating.models import (
    Direction,
    Lease,
    LeaseEnd,
    LineStatus,
    RatedRecord,
    Rating,
    RatingKind,
)
from gating.selectors.ratings import rated_total
from gating.services.ingest_requests import OWN_KEY
from grants.admin.sources import register_source

LINE_COLORS = {
    LineStatus.PRICED.label: "success",
    LineStatus.MISSING_PRICE.label: "danger",
}
_PAID_BY = "gate_rating:"
SERVICE = "The service that used it"


class RatedRecordInline(ReadOnlyInline):
    """The lines of a rating, one per meter."""

    model = RatedRecord
    verbose_name_plural = "meters"
    fields = ("line_number", "meter_code", "quantity", "amount", "cost", "state")
    readonly_fields = fields
    ordering = ("line_number",)

    @display(description="Quantity")
    def quantity(self, line: RatedRecord) -> str:
        """Return the quantity, in the meter's smallest unit."""
        return units(line.quantity_minor, line.unit)

    @display(description="Price")
    def amount(self, line: RatedRecord) -> Any:
        """Return what the customer pays."""
        return money(line.amount_xusd)

    @display(description="Our cost")
    def cost(self, line: RatedRecord) -> Any:
        """Return what the provider charges us."""
        return money(line.cost_xusd)

    @display(description="State", label=LINE_COLORS)
    def state(self, line: RatedRecord) -> str:
        """Return whether there was a price."""
        return str(line.get_rating_status_display())


@admin.register(Rating)
class RatingAdmin(RatingFigures):
    """Ratings."""

    menu = Menu(GATE, icon="request_quote", order=40)
    empty_message = (
        "No usage was reported yet. A rating appears with the first commit, or the "
        "first report without a lease."
    )
    inlines = (RatedRecordInline,)
    list_display = (
        "when", account, user, feature, "kind", "quantity", "amount", "paid",
        "applied_label", "reasons", "realm",
    )  # fmt: skip
    list_filter = (
        ("rated_at", TimeFilter), "application_status", "rating_kind",
        "direction", "billing_mode", "realm",
    )  # fmt: skip
    list_select_related = ("realm", "account", "user", "lease")
    search_fields = (
        *SEARCHED, "lease__lease", "budget__reference", "id", "trace_id",
    )  # fmt: skip
    search_help_text = (
        "Principal, user id, e-mail, feature code, lease or budget reference, commit id"
    )
    # By time within a realm, as the index has it.
    ordering = ("-realm_id", "-rated_at", "-id")
    export_fields = (
        "id", "realm", "account__billing_principal_id", "user__business_user_id",
        "rating_kind", "direction", "lease__lease", "feature_code",
        "canonical_quantity_minor", "canonical_amount_xusd", "canonical_cost_xusd",
        "application_status", "reason_codes", "applied_quantity_minor",
        "applied_amount_xusd", "applied_cost_xusd", "funded_xusd", "billing_mode",
        "late_rating", "budget__reference", "rated_at", "trace_id",
    )  # fmt: skip
    fieldsets = (
        (
            None,
            {"fields": ("when_text", account, user, feature, "kind", "lease_link",
                        "reported_by", "realm")},
        ),
        (
            "Reported",
            {
                "fields": ("quantity", "amount", "cost", "reported"),
                "description": "The whole of it, at the prices of that moment. "
                "Quantities count the smallest unit.",
            },
        ),
        (
            "Applied",
            {
                "fields": ("applied_label", "reasons", "applied_quantity",
                           "applied_amount", "applied_cost", "paid", "owed", budget),
                "description": "What counted against quotas and money.",
            },
        ),
        (
            "How it was settled",
            {
                "fields": ("billing_mode", "late_rating", "plan_assignment",
                           "reversal", "evidence"),
                "classes": ("collapse",),
            },
        ),
        (
            "For engineers",
            {
                "fields": ("id", "operation", "idempotency_key", "trace_id", "labels",
                           "annotations", "rule_set_id", "pricing_snapshot",
                           "cost_snapshot"),
                "classes": ("collapse",),
            },
        ),
    )  # fmt: skip

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the groups; what a seat's rating has no use for makes room for it."""
        groups: Any = super().get_fieldsets(request, obj)
        if obj is None or obj.rating_kind != RatingKind.SEATS:
            return groups
        [(title, first), *others] = groups
        first = {"fields": [name for name in first["fields"] if name != "lease_link"]}
        return [(title, first), SEAT_GROUP, *others]

    @display(description="Pricing snapshot")
    def pricing_snapshot(self, rating: Rating) -> Any:
        """Return the evidence of the amount."""
        return json_block(dict(rated_total(rating).pricing_snapshot))

    @display(description="Cost snapshot")
    def cost_snapshot(self, rating: Rating) -> Any:
        """Return the evidence of the cost."""
        return json_block(dict(rated_total(rating).cost_snapshot))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rating]:
        """Return the ratings with the units of their lines."""
        ratings: QuerySet[Rating] = super().get_queryset(request)
        lines = RatedRecord.objects.only("rating_id", "unit", "line_number")
        return ratings.prefetch_related(
            Prefetch("lines", lines.order_by("line_number"), to_attr="read_lines")
        )

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> Any:
        """Return what matches; the source of a use names the rating it paid."""
        term = search_term.strip().removeprefix(_PAID_BY)
        return super().get_search_results(request, queryset, term)

    @display(description="When (UTC)", ordering="rated_at")
    def when(self, rating: Rating) -> Any:
        """Return when it was rated."""
        return moment(rating.rated_at)

    @display(description="When")
    def when_text(self, rating: Rating) -> str:
        """Return when it was rated."""
        return instant_text(rating.rated_at)

    @display(description="Reported as")
    def kind(self, rating: Rating) -> str:
        """Return how the usage came in."""
        if rating.direction == Direction.CREDIT:
            return Direction.CREDIT.label
        return str(rating.get_rating_kind_display())

    @display(description="Reported at")
    def reported(self, rating: Rating) -> str:
        """Return when the usage was told; of a report, how long after it occurred."""
        own = rating.metadata.get(OWN_KEY)
        if own is None:
            return instant_text(rating.rated_at)
        received_at = parse_instant(own["received_at"])
        told = instant_text(received_at)
        if own["backfill"]:
            told += f", {age_text(received_at - rating.rated_at)} after it occurred"
        who = "the caller" if own["occurred_at_source"] == "caller" else "nobody"
        return f"{told}; {who} said when it occurred"

    @display(description="Metadata")
    def annotations(self, rating: Rating) -> Any:
        """Return the caller's own annotations, and where the instant came from."""
        return json_block(rating.metadata)

    @display(description="Lease")
    def lease_link(self, rating: Rating) -> Any:
        """Return the lease that was committed, as a link while it is kept."""
        if rating.lease_id is None:
            return NOTHING
        lease = Lease.objects.in_realm(rating.realm_id).filter(pk=rating.lease_id)
        kept = lease.first()
        if kept is None:
            return "No longer kept: it ended too long ago"
        return linked(kept, kept.lease)

    @display(description="Reported by")
    def reported_by(self, rating: Rating) -> str:
        """Return who committed it in its caller's place and why, else the service."""
        if rating.lease_id is None:
            return NOTHING
        ends = LeaseEnd.objects.in_realm(rating.realm_id)
        end = ends.filter(lease_id=rating.lease_id, rating_id=rating.pk).first()
        return f"{end.operator}: {end.reason} ({end.ticket_id})" if end else SERVICE

    @display(description="Takes back")
    def reversal(self, rating: Rating) -> Any:
        """Return the rating that this one reverses, as a link."""
        return linked(rating.reversal_of)


def _rating_link(key: str) -> Any:
    """Return a link to the rating that an entry paid for."""
    address = reverse("admin:gating_rating_change", args=[key])
    return format_html('<a href="{}" class="text-link">Rating</a>', address)


register_source(_PAID_BY, _rating_link)
