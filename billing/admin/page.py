"""What an account's page shows besides its own fields."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.http import HttpRequest
from django.urls import reverse

from billing.admin.bundle_names import bundle_text
from billing.admin.related import related_links
from billing.admin.words import STATE_COLORS, short_text, state_of, window_text
from billing.models import BillingAccount, BillingUser, SourceKind
from billing.policies.effective import AssignedPlan, by_precedence
from billing.selectors.effective import (
    BillingState,
    assigned_plans,
    billing_state,
    entitled_features,
)
from billing.selectors.users import seat_summary
from config.admin.bases import UtcDateTimeField
from config.admin.values import instant_text
from config.admin.widgets import dress

_SHOWN_USERS = 50
ANCHORS = {
    "calendar_start": "on the first of the month (UTC)",
    "binding_start": "on the day the assignment began",
    "subscription_period_start": "with the subscription's own periods",
}


class TimesForm(forms.Form):
    """As of when, as known when; both empty means now."""

    user = forms.ModelChoiceField(
        BillingUser.objects.none(),
        label="Seen by",
        required=False,
        empty_label="The whole account",
    )
    as_of = UtcDateTimeField(
        label="As of", required=False, help_text="What was in effect then (UTC)."
    )
    known_at = UtcDateTimeField(
        label="As known on",
        required=False,
        help_text="What had been recorded by then (UTC).",
    )

    def __init__(self, account: BillingAccount, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["user"].queryset = BillingUser.objects.filter(  # type: ignore[attr-defined]
            account=account
        ).order_by("business_user_id")
        dress(self)


def account_panels(
    account: BillingAccount, request: HttpRequest, *, at: datetime
) -> dict[str, Any]:
    """Return the context of the account page: state, assignments, users, seats."""
    asked = bool(set(request.GET) & {"as_of_0", "known_at_0", "user"})
    form = TimesForm(account, request.GET if asked else None)
    times = form.cleaned_data if asked and form.is_valid() else {}
    state = billing_state(
        account=account,
        user=times.get("user"),
        as_of=times.get("as_of"),
        known_at=times.get("known_at"),
        at=at,
    )
    return {
        "times_form": form,
        "is_present": not (times.get("as_of") or times.get("known_at")),
        "state": state,
        "state_as_of": _asked_text(times.get("as_of")),
        "state_known_at": _asked_text(times.get("known_at")),
        "state_viewer": state.user or "the whole account",
        "next_change": state.next_change_at and short_text(state.next_change_at),
        "billing_mode_from": _source_text(state.billing_mode),
        "issue_anchor_text": ANCHORS[state.issue_anchor.value],
        "issue_anchor_from": _source_text(state.issue_anchor),
        "bundle_key": bundle_text(state),
        **_contract_texts(state),
        "assignment_rows": _assignment_rows(account, state, at=at),
        "features": sorted(entitled_features(state).items()),
        "seats": seat_summary(account),
        "user_rows": _user_rows(account),
        "related": related_links(request, account),
        "may_assign": request.user.has_perm("billing.assign_plan"),
    }


def _contract_texts(state: BillingState) -> dict[str, Any]:
    """Return when the contract in force holds, and where its page is."""
    contract = state.contract
    if contract is None:
        return {}
    page = reverse("admin:billing_billingcontract_change", args=[contract.contract_id])
    return {
        "contract_address": page,
        "contract_window": window_text(contract.window_start, contract.window_end),
    }


def _asked_text(instant: datetime | None) -> str:
    return "now" if instant is None else f"on {instant_text(instant)}"


def _source_text(setting: Any) -> str:
    if setting.plan is not None:
        where = "this assignment of" if setting.source == "assignment" else "the plan"
        return f"from {where} {setting.plan.plan_name}"
    return {
        "realm_default": "the realm's default",
        "system_default": "the system's default",
    }[setting.source]


def _assignment_rows(
    account: BillingAccount, state: BillingState, *, at: datetime
) -> list[dict[str, Any]]:
    """Return every assignment of the account and its users, the living ones first."""
    assigned = assigned_plans(
        account=account,
        user_id=None,
        everyone=True,
        as_of=state.as_of,
        known_at=state.known_at,
        at=at,
    )
    users = BillingUser.objects.in_bulk(
        {plan.user_id for plan in assigned if plan.user_id}
    )
    rows = [_assignment_row(plan, users, state) for plan in by_precedence(assigned)]
    order = ("In effect", "Starts later", "Paused", "Plan inactive")
    return sorted(
        rows,
        key=lambda row: order.index(row["state"]) if row["state"] in order else 9,
    )


def _assignment_row(
    plan: AssignedPlan, users: dict[Any, BillingUser], state: BillingState
) -> dict[str, Any]:
    word = state_of(
        plan.status,
        plan.window_start,
        plan.window_end,
        plan_active=plan.plan_active,
        at=state.as_of,
    )
    return {
        "plan": plan,
        "state": word,
        "color": STATE_COLORS.get(word, "default"),
        "start": short_text(plan.window_start),
        "end": short_text(plan.window_end) if plan.window_end else "no end",
        "source": SourceKind(plan.source_kind).label,
        "holder": "Whole account"
        if plan.user_id is None
        else f"User {users[plan.user_id]}",
        "address": reverse(
            "admin:billing_planassignment_change", args=[plan.assignment_id]
        ),
        "buttons": _buttons(word, plan),
    }


def _buttons(word: str, plan: AssignedPlan) -> Sequence[tuple[str, str]]:
    """Return the buttons a row's state allows, as (label, address)."""
    allowed = {
        "In effect": ["extend", "end", "pause"],
        "Starts later": ["extend", "end", "cancel"],
        "Ended": ["extend"],
        "Paused": ["resume", "end", "cancel"],
        "Plan inactive": ["end"],
    }.get(word, [])
    if plan.window_end is None:
        allowed = [name for name in allowed if name != "extend"]
    return [
        (
            name.capitalize(),
            reverse(f"admin:billing_planassignment_{name}", args=[plan.assignment_id]),
        )
        for name in allowed
    ]


def _user_rows(account: BillingAccount) -> list[dict[str, Any]]:
    users = BillingUser.objects.filter(account=account).order_by("status", "-pk")
    return [
        {
            "user": user,
            "address": reverse("admin:billing_billinguser_change", args=[user.pk]),
        }
        for user in users[:_SHOWN_USERS]
    ]
