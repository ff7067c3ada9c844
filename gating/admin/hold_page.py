"""A hold as people read it: what it holds, who asked, how it ended, why it was let."""

from typing import Any

from django.utils.html import format_html
from unfold.decorators import display

from catalog.admin.words import linked, money, unbroken, units
from config.admin.bases import RecordAdmin, instant_text, json_block
from config.kernel.clock import now
from gating.admin.explained import explained
from gating.admin.hold_words import (
    STATE_COLORS,
    caller_text,
    end_text,
    expiry_text,
    labels_text,
    orphan_text,
    state_text,
)
from gating.admin.subjects import account, budget, feature, user
from gating.admin.words import window_text
from gating.decide import decide
from gating.evidence import decision_document
from gating.lengths import age_text
from gating.models import GatePolicy, Lease, LeaseState, Rating
from gating.selectors.decisions import admission_of, decision_on_lease


def is_active(lease: Lease) -> bool:
    """Return whether the lease holds anything."""
    return bool(lease.state == LeaseState.ACTIVE)


class HoldPage(RecordAdmin):
    """The page of a hold, and the columns of their list."""

    fieldsets = (
        (
            None,
            {
                "fields": ("state_label", "orphan", account, user, feature, "realm"),
            },
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
            "Who asked",
            {
                "fields": ("lease", "labels_shown", "trace_id"),
                "description": "What the service said of itself. The line of our log "
                "with the trace id names its service key.",
            },
        ),
        (
            "Life",
            {"fields": ("authorized", "expires_text", "age", "ended", "ended_how",
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
                "fields": ("id", "idempotency_key", "labels", "rule_set_id",
                           "decision"),
                "classes": ("collapse",),
            },
        ),
    )  # fmt: skip

    @display(description="Held for", ordering="-authorized_at")
    def age(self, lease: Lease) -> Any:
        """Return how long it has been held, or was."""
        until = lease.ended_at or now()
        return unbroken(age_text(until - lease.authorized_at))

    @display(description="State", label=STATE_COLORS, ordering="state")
    def state_label(self, lease: Lease) -> str:
        """Return how the lease stands now."""
        return state_text(lease, now())

    @display(description="Orphan")
    def orphan(self, lease: Lease) -> Any:
        """Return why nobody is likely to commit it."""
        sentence = "No: it has ended"
        if is_active(lease):
            sentence = orphan_text(lease) or "No: its service may still commit it"
        return format_html('<span class="plangate-sentence">{}</span>', sentence)

    @display(description="Quantity held", ordering="reserved_minor")
    def held_quantity(self, lease: Any) -> Any:
        """Return the quantity, in the unit of its policy."""
        return unbroken(units(lease.reserved_minor, lease.counted_unit))

    @display(description="Money held", ordering="reserved_xusd")
    def held_money(self, lease: Lease) -> Any:
        """Return the amount on the user's balance."""
        return money(lease.reserved_xusd)

    @display(description="Most it may use")
    def cap(self, lease: Any) -> str:
        """Return the quantity that authorize allowed."""
        if lease.cap_minor is None:
            return "Unlimited"
        return units(lease.cap_minor, lease.counted_unit)

    @display(description="Held in window (UTC)")
    def counted_in(self, lease: Lease) -> str:
        """Return the window of the first quota that admitted it."""
        return window_text(lease.window_start, lease.window_end)

    @display(description="Expires", ordering="expires_at")
    def expires(self, lease: Lease) -> Any:
        """Return how long it may still be committed."""
        return unbroken(expiry_text(lease, now()))

    @display(description="Caller")
    def caller(self, lease: Lease) -> str:
        """Return what the service that asked said of itself."""
        return caller_text(lease)

    @display(description="Labels")
    def labels_shown(self, lease: Lease) -> str:
        """Return the labels that the service gave it."""
        return labels_text(lease) or "None given"

    @display(description="Since")
    def authorized(self, lease: Lease) -> str:
        """Return since when it is held."""
        return instant_text(lease.authorized_at)

    @display(description="Expires")
    def expires_text(self, lease: Lease) -> str:
        """Return until when it may be committed."""
        left = f" ({expiry_text(lease, now())})" if is_active(lease) else ""
        return f"{instant_text(lease.expires_at)}{left}"

    @display(description="Ended")
    def ended(self, lease: Lease) -> str:
        """Return when it was committed, released or expired."""
        return instant_text(lease.ended_at) if lease.ended_at else "Not yet"

    @display(description="How it ended")
    def ended_how(self, lease: Lease) -> str:
        """Return how it ended; by decision, who took it and why."""
        return end_text(lease) or "Not yet"

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
