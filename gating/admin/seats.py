"""Seats that are billed: on the form of their policy, and on the page of a rating."""

from typing import Any

from unfold.decorators import display

from catalog.admin.words import linked
from config.admin.bases import NOTHING, instant_text
from config.kernel.windows import parse_instant
from gating.admin.words import SEAT_MODES, billing_text, window_text
from gating.models import GatePolicy, PolicyKind, Rating

FEATURE, METER, MODE = BILLING_FIELDS = (
    "metadata__billing_feature_code",
    "metadata__billing_meter_code",
    "metadata__billing_mode",
)
"""The fields of a policy's form that say how its seats are billed."""

LABELS = {
    FEATURE: "Billed as feature",
    METER: "Billed on meter",
    MODE: "Which seats are billed",
}
HELP = {
    FEATURE: "The code of the feature that a seat is billed as. Empty: seats are not "
    "billed.",
    METER: "The code of a meter of that feature: its price is the price of a seat.",
    MODE: "Assigned: every seat that was taken, while its user is active. Active "
    "window: the seats of users seen in the window. Without a window, seats are billed "
    "by calendar month (UTC).",
}


def dress_billing(fields: dict[str, Any]) -> None:
    """Give the form's fields of billing their words."""
    for name in BILLING_FIELDS:
        if name in fields:
            fields[name].label = LABELS[name]
            fields[name].help_text = HELP[name]


@display(description="Seats are billed")
def billed_as(policy: GatePolicy) -> str:
    """Return how a policy's seats are billed; other policies have none."""
    return billing_text(policy) if policy.kind == PolicyKind.SEATS else NOTHING


@display(description="Billed for the window (UTC)")
def seat_window(rating: Rating) -> str:
    """Return the window whose seat this is."""
    seat = rating.evidence["seat"]
    return window_text(
        parse_instant(seat["window_start"]), parse_instant(seat["window_end"])
    )


@display(description="Which seats are billed")
def seat_mode(rating: Rating) -> str:
    """Return whether assigned seats are billed, or used ones."""
    return SEAT_MODES[rating.evidence["seat"]["billing_mode"]]


@display(description="Had the seat in it since")
def seat_since(rating: Rating) -> str:
    """Return since when the active user had the seat, within the window."""
    return instant_text(parse_instant(rating.evidence["seat"]["held_since"]))


@display(description="Billed under policy")
def seat_policy(rating: Rating) -> Any:
    """Return the policy, as a link; its name where it is gone."""
    seat = rating.evidence["seat"]
    policies = GatePolicy.objects.in_realm(rating.realm_id)
    found = policies.filter(pk=seat["policy_id"]).first()
    if found is None:
        return f"{seat['policy_name']} (deleted)"
    return linked(found, seat["policy_name"])


SEAT_GROUP = (
    "Seat",
    {
        "fields": (seat_window, seat_mode, seat_since, seat_policy),
        "description": "Billed once its window was over.",
    },
)
