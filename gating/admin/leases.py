"""Holds: what was authorized and is not settled yet, and what became of it."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import (
    OuterRef,
    QuerySet,
    Subquery,
)
from django.http import HttpRequest
from unfold.decorators import display

from catalog.admin.filters import TimeFilter
from catalog.admin.words import linked, moment, money, unbroken, units
from config.admin.bases import (
    GATE,
    NOTHING,
    ActionVariant,
    CommandForm,
    Figure,
    Menu,
    RecordAdmin,
    add_figure,
    command,
    instant_text,
    json_block,
)
from config.kernel.audit import AuditContext
from config.kernel.clock import now
from config.tenancy.models import DomainEvent
from gating.admin.explained import explained
from gating.admin.subjects import SEARCHED, account, budget, feature, user
from gating.admin.words import age_text, window_text
from gating.decide import decide
from gating.evidence import decision_document
from gating.models import GatePolicy, Lease, LeaseState, Rating
from gating.selectors.decisions import admission_of, decision_on_lease
from gating.services.leases import CANCELED, cancel_lease

OVERDUE = "Overdue"
STATE_COLORS = {
    "Active": "success",
    OVERDUE: "danger",
    "Committed": "default",
    "Expired": "warning",
    "Canceled": "info",
}
_AGES = {
    "hour": ("Held for over 1 hour", timedelta(hours=1)),
    "day": ("Held for over 1 day", timedelta(days=1)),
}


def is_active(lease: Lease) -> bool:
    """Return whether the lease holds anything."""
    return bool(lease.state == LeaseState.ACTIVE)


def overdue(at: datetime) -> QuerySet[Lease]:
    """Return the active leases that ran out before `at` (aware UTC)."""
    return Lease.objects.filter(state=LeaseState.ACTIVE, expires_at__lt=at)


class AgeFilter(admin.SimpleListFilter):
    """The live holds that are older than they should be."""

    title = "live holds"
    parameter_name = "age"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        ages = [(key, label) for key, (label, _age) in _AGES.items()]
        return [(OVERDUE.lower(), "Overdue: past its expiry"), *ages]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Return the live holds of that age."""
        chosen = self.value()
        live = queryset.filter(state=LeaseState.ACTIVE)
        if chosen == OVERDUE.lower():
            return live.filter(expires_at__lt=now())
        if chosen in _AGES:
            return live.filter(authorized_at__lt=now() - _AGES[chosen][1])
        return queryset


@admin.register(Lease)
class LeaseAdmin(RecordAdmin):
    """Leases, called holds here: what they hold is why people look."""

    menu = Menu(GATE, icon="lock_clock", order=20, label="Holds")
    empty_message = (
        "Nothing was authorized yet. A hold appears when a service asks the gate."
    )
    list_display = (
        "since", "state_label", account, user, feature, "held_quantity", "held_money",
        "age", "expires", "realm",
    )  # fmt: skip
    list_filter = (
        "state", AgeFilter, ("authorized_at", TimeFilter), "billing_mode",
        "realm",
    )  # fmt: skip
    list_select_related = ("realm", "account", "user")
    search_fields = (*SEARCHED, "lease", "trace_id")
    search_help_text = "Lease reference, principal, user id, e-mail, feature code"
    # Keys grow with time, and their index is there.
    ordering = ("-id",)
    export_fields = (
        "id", "realm", "lease", "state", "account__billing_principal_id",
        "user__business_user_id", "feature_code", "reserved_minor", "reserved_xusd",
        "authorized_at", "expires_at", "ended_at", "billing_mode", "trace_id",
    )  # fmt: skip
    fieldsets = (
        (
            None,
            {"fields": ("lease", "state_label", account, user, feature, "realm")},
        ),
        (
            "What it holds",
            {
                "fields": ("held_quantity", "held_money", budget, "counted_in", "cap"),
                "description": "While it is active. Afterwards the numbers say what "
                "was held, and nothing is.",
            },
        ),
        (
            "Life",
            {"fields": ("authorized", "expires_text", "ended", "age", "canceled_by",
                        "rating")},
        ),
        (
            "Decision",
            {
                "fields": ("explanation", "policy", "plan_assignment", "billing_mode",
                           "zero_cost"),
            },
        ),
        (
            "For engineers",
            {
                "fields": ("id", "idempotency_key", "trace_id", "labels",
                           "rule_set_id", "decision"),
                "classes": ("collapse",),
            },
        ),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Lease]:
        """Return the leases with the unit that their policy counts in."""
        leases: QuerySet[Lease] = super().get_queryset(request)
        policies = GatePolicy.objects.filter(pk=OuterRef("policy_id"))
        return leases.annotate(counted_unit=Subquery(policies.values("unit")[:1]))

    @display(description="Since (UTC)", ordering="authorized_at")
    def since(self, lease: Lease) -> Any:
        """Return since when it is held."""
        return moment(lease.authorized_at)

    @display(description="State", label=STATE_COLORS, ordering="state")
    def state_label(self, lease: Lease) -> str:
        """Return how the lease stands now."""
        if is_active(lease):
            return OVERDUE if lease.expires_at < now() else "Active"
        return str(lease.get_state_display())

    @display(description="Quantity held", ordering="reserved_minor")
    def held_quantity(self, lease: Any) -> Any:
        """Return the quantity, in the unit of its policy."""
        return unbroken(units(lease.reserved_minor, lease.counted_unit or "unit"))

    @display(description="Money held", ordering="reserved_xusd")
    def held_money(self, lease: Lease) -> Any:
        """Return the amount on the user's balance."""
        return money(lease.reserved_xusd)

    @display(description="Most it may use")
    def cap(self, lease: Any) -> str:
        """Return the quantity that authorize allowed."""
        if lease.cap_minor is None:
            return "Unlimited"
        return units(lease.cap_minor, lease.counted_unit or "unit")

    @display(description="Held in window (UTC)")
    def counted_in(self, lease: Lease) -> str:
        """Return the window of the first quota that admitted it."""
        return window_text(lease.window_start, lease.window_end)

    @display(description="Age", ordering="-authorized_at")
    def age(self, lease: Lease) -> str:
        """Return how long it has been held, or was."""
        until = lease.ended_at or now()
        return age_text(until - lease.authorized_at)

    @display(description="Expires (UTC)", ordering="expires_at")
    def expires(self, lease: Lease) -> Any:
        """Return until when it may be committed."""
        return moment(lease.expires_at)

    @display(description="Authorized")
    def authorized(self, lease: Lease) -> str:
        """Return since when it is held."""
        return instant_text(lease.authorized_at)

    @display(description="Expires")
    def expires_text(self, lease: Lease) -> str:
        """Return until when it may be committed."""
        return instant_text(lease.expires_at)

    @display(description="Ended")
    def ended(self, lease: Lease) -> str:
        """Return when it was committed, canceled or expired."""
        return instant_text(lease.ended_at) if lease.ended_at else "Not yet"

    @display(description="Canceled by")
    def canceled_by(self, lease: Lease) -> str:
        """Return which member of staff canceled it, and why."""
        if lease.state != LeaseState.CANCELED:
            return NOTHING
        event = (
            DomainEvent.objects.in_realm(lease.realm_id)
            .filter(kind=CANCELED, subject_id=lease.pk)
            .filter(occurred_at=lease.ended_at or now())
            .first()
        )
        if event is None:
            return "The service that held it"
        told = event.payload
        return f"{told['operator']}: {told['reason']} ({told['ticket_id']})"

    @display(description="Why it was admitted")
    def explanation(self, lease: Lease) -> Any:
        """Return each check of the decision, made again."""
        return explained(decision_on_lease(lease))

    @display(description="What was known")
    def decision(self, lease: Lease) -> Any:
        """Return the decision in full, as it was made."""
        ask, facts = admission_of(lease)
        return json_block(decision_document(ask, facts, decide(ask, facts)))

    @display(description="Rating")
    def rating(self, lease: Lease) -> Any:
        """Return what was rated by its commit, as a link."""
        found = Rating.objects.in_realm(lease.realm_id).filter(lease=lease)
        return linked(found.order_by("pk").first(), "What was used and paid")

    @display(description="Admitted by policy")
    def policy(self, lease: Lease) -> Any:
        """Return the first quota policy that admitted it, as a link."""
        found = GatePolicy.objects.filter(pk=lease.policy_id).first()
        return linked(found) if found else "A policy that was deleted"

    @command(
        "Cancel hold",
        permission="gating.cancel_lease",
        icon="lock_open",
        variant=ActionVariant.DANGER,
        description="Gives back the quantity and money it holds, at once. If the work "
        "is still running, its commit will be kept aside as quarantined usage and not "
        "charged.",
        available=is_active,
    )
    def cancel(
        self,
        _request: HttpRequest,
        lease: Lease,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Give up the authorization and what it holds."""
        done = cancel_lease(
            account=lease.account, user=lease.user, reference=lease.lease, at=at, by=by
        )
        if not done.canceled:
            return f"{lease} had ended by itself: nothing was held any more."
        return f"{lease} is canceled: what it held is free again."


add_figure(
    Figure(
        label="Holds past their expiry",
        rows=overdue,
        url_name="admin:gating_lease_changelist",
        permission="gating.view_lease",
        query=lambda _at: "age=overdue",
        icon="lock_clock",
        order=60,
    )
)
