"""Counters: what was used of which window."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.views import ChangeList

from billing.models import BillingUser
from catalog.admin.words import linked, moment, unbroken, units
from config.admin.bases import GATE, Menu, RecordAdmin
from config.kernel.clock import now
from gating.admin.subjects import account, feature
from gating.models import Counter, CounterKind, GatePolicy, SubjectScope
from gating.projection import counter_key_of

NO_POLICY = "No policy counts here any more"


def attach_policies(counters: Sequence[Any]) -> None:
    """Give each counter the policies that share it, as `policies`; in one query."""
    realms = {counter.realm_id for counter in counters}
    kinds = {counter.kind for counter in counters}
    shared: dict[tuple[str, str, str], list[GatePolicy]] = {}
    found: Iterable[GatePolicy] = GatePolicy.objects.filter(
        realm__in=realms, kind__in=kinds
    ).order_by("name")
    for policy in found:
        key = counter_key_of(policy.pk, policy.metadata)
        shared.setdefault((policy.realm_id, policy.kind, key), []).append(policy)
    for counter in counters:
        place = (counter.realm_id, counter.kind, counter.key)
        counter.policies = shared.get(place, [])


class CounterList(ChangeList):
    """A page of counters, with their policies."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        attach_policies(self.result_list)


class WindowFilter(admin.SimpleListFilter):
    """Whether the counter's window is the current one."""

    title = "window"
    parameter_name = "window"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [("now", "Current"), ("past", "Over")]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Return the counters of current or past windows."""
        if self.value() == "now":
            return queryset.filter(window_end__gt=now())
        return queryset.filter(window_end__lte=now()) if self.value() else queryset


@admin.register(Counter)
class CounterAdmin(RecordAdmin):
    """Counters."""

    menu = Menu(GATE, icon="counter_1", order=30)
    searched = False
    empty_message = "Nothing was counted yet. A counter appears with the first use."
    list_display = (
        feature, account, "subject", "kind_label", "used", "held", "limits",
        "starts", "ends", "realm",
    )  # fmt: skip
    list_filter = (WindowFilter, "kind", "subject_scope", "realm")
    list_select_related = ("realm", "account")
    search_fields = (
        "feature_code", "account__billing_principal_id", "subject_name",
        "subject_email", "key",
    )  # fmt: skip
    search_help_text = "Feature code, principal, user id, e-mail, counter key"
    ordering = ("-window_end", "feature_code", "pk")
    export_fields = (
        "id", "realm", "account__billing_principal_id", "subject_scope", "subject_id",
        "feature_code", "kind", "key", "window_start", "window_end", "used_minor",
        "reserved_minor",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": (feature, account, "subject", "kind_label", "realm")}),
        (
            "Use",
            {
                "fields": ("used", "held", "limits", "left"),
                "description": "In the smallest unit of what is counted. Held is "
                "authorized and not committed yet.",
            },
        ),
        ("Window (UTC)", {"fields": ("starts", "ends")}),
        ("For engineers", {"fields": ("id", "key", "subject_id")}),
    )

    def get_changelist(self, request: HttpRequest, **options: Any) -> Any:
        """Return the list that reads a page's policies at once."""
        return CounterList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Counter]:
        """Return the counters with the user they count for."""
        counters: QuerySet[Counter] = super().get_queryset(request)
        users = BillingUser.objects.filter(
            realm=OuterRef("realm"), pk=OuterRef("subject_id")
        )
        return counters.annotate(
            subject_name=Subquery(users.values("business_user_id")[:1]),
            subject_email=Subquery(users.values("metadata__email")[:1]),
        )

    def get_object(self, *args: Any, **options: Any) -> Any:
        """Return one counter with its policies, None where there is none."""
        counter = super().get_object(*args, **options)
        if counter is not None:
            attach_policies([counter])
        return counter

    @display(description="Counts for")
    def subject(self, counter: Any) -> Any:
        """Return whose use it is: one user's, or the whole account's."""
        if counter.subject_scope == SubjectScope.ACCOUNT:
            return SubjectScope.ACCOUNT.label
        user = BillingUser(pk=counter.subject_id)
        return linked(user, counter.subject_name or str(counter.subject_id))

    @display(description="Counts", ordering="kind")
    def kind_label(self, counter: Counter) -> str:
        """Return what is counted."""
        return str(counter.get_kind_display())

    @display(description="Used", ordering="used_minor")
    def used(self, counter: Counter) -> Any:
        """Return what was used."""
        return unbroken(_counted(counter, counter.used_minor))

    @display(description="Held", ordering="reserved_minor")
    def held(self, counter: Counter) -> Any:
        """Return what is authorized and not committed yet."""
        return unbroken(_counted(counter, counter.reserved_minor))

    @display(description="Limit")
    def limits(self, counter: Any) -> Any:
        """Return what the policies that share the counter allow."""
        if len(counter.policies) == 1:
            [policy] = counter.policies
            return unbroken(linked(policy, _limit(counter, policy)))
        return (
            format_html_join(
                SafeString("<br>"),
                "{} by {}",
                ((_limit(counter, p), linked(p)) for p in counter.policies),
            )
            or NO_POLICY
        )

    @display(description="Left")
    def left(self, counter: Any) -> str:
        """Return what the least of the limits leaves."""
        known = [p.limit for p in counter.policies if p.limit is not None]
        if not known:
            return "Unlimited" if counter.policies else NO_POLICY
        taken = counter.used_minor + counter.reserved_minor
        return _counted(counter, max(min(known) - taken, 0))

    @display(description="From (UTC)", ordering="window_start")
    def starts(self, counter: Counter) -> Any:
        """Return the window's first instant."""
        return moment(counter.window_start)

    @display(description="Until (UTC)", ordering="window_end")
    def ends(self, counter: Counter) -> Any:
        """Return when counting starts anew."""
        return moment(counter.window_end)


def _counted(counter: Any, quantity_minor: int) -> str:
    if counter.kind == CounterKind.RATE:
        return units(quantity_minor, "call")
    unit = counter.policies[0].unit if counter.policies else "unit"
    return units(quantity_minor, unit)


def _limit(counter: Any, policy: GatePolicy) -> str:
    return "Unlimited" if policy.limit is None else _counted(counter, policy.limit)
