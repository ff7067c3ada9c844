"""Back-test: what a changed bundle would have decided, on a page of the bundle."""

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from catalog.admin.words import moment
from config.admin.bases import Table
from config.admin.refusals import add_refusal
from config.kernel.clock import now
from config.kernel.errors import DomainError
from gating.admin.backtest_form import BackTestForm
from gating.admin.words import DENIAL_REASONS, feature_text, reason_text
from gating.models import GatePolicyBundle
from gating.selectors.names import account_names, user_names
from gating.services.simulations import MOST_AT_ONCE, begin_simulation
from gating.simulation import Example, Group, Results

_DECISIONS = "gating.view_lease"
"""The permission to look at recorded decisions."""

_HEADERS = (
    "Policy", "Today", "Limit", "Window (seconds)", "Enforcement", "Leave out",
)  # fmt: skip
_SHOWN, _EXAMPLES = 100, 20
_LEFT_OUT = {
    "counted_only": "denials that were counted only, beside the first of their minute",
    "comes_out_otherwise": "decisions that come out otherwise today: tell an engineer",
    "plans_not_reconstructed": "decisions of which history does not tell the plans",
    "numbers_not_recorded": "decisions that did not see the numbers the draft needs",
}


def back_test_page(admin: Any, request: Any, object_id: str) -> HttpResponse:
    """Show the form, and once it is sent, what came of it. Nothing is written."""
    bundle = admin.get_object(request, object_id)
    if bundle is None:
        gone: HttpResponse = admin._get_obj_does_not_exist_redirect(
            request, admin.opts, object_id
        )
        return gone
    may_look = admin.has_view_permission(request, bundle)
    if not (may_look and request.user.has_perm(_DECISIONS)):
        raise PermissionDenied
    sent = request.POST if request.method == "POST" else None
    form = BackTestForm(bundle, sent, at=now())
    told = _told(form) if sent is not None and form.is_valid() else {}
    return _page(admin, request, bundle, form, told)


def _page(
    admin: Any,
    request: HttpRequest,
    bundle: GatePolicyBundle,
    form: BackTestForm,
    told: dict[str, Any],
) -> HttpResponse:
    request.current_app = admin.admin_site.name
    return TemplateResponse(
        request,
        "admin/gating/back_test.html",
        {
            **admin.admin_site.each_context(request),
            "title": "Back-test",
            "opts": admin.opts,
            "original": bundle,
            "form": form,
            "headers": _HEADERS,
            "media": admin.media + form.media,
            "back": admin.address_of(bundle),
            **told,
        },
    )


def _told(form: BackTestForm) -> dict[str, Any]:
    """Return what came of the draft; a refusal stands on the form."""
    try:
        results = begin_simulation(
            realm=form.bundle.realm,
            draft=form.draft(),
            span=form.span(),
            mode=form.cleaned_data["mode"],
            most=MOST_AT_ONCE,
        ).finish()
    except DomainError as refusal:
        add_refusal(form, refusal)
        return {}
    return {
        "results": results,
        "sentences": sentences_of(results),
        "tables": tables_of(results) if results.total.decisions else [],
    }


def sentences_of(results: Results) -> list[str]:
    """Return what came of it in sentences, what was left out included."""
    total = results.total
    if not total.decisions:
        return []
    told = [
        f"{_decisions(total.decisions)} on record, {total.judged:,} decided again.",
        f"Without the draft {total.reproduced:,} come out as recorded.",
    ]
    if not total.flips:
        told.append("Under the draft every verdict stays as it was.")
    else:
        told.append(
            f"Under the draft {total.admitted_to_denied:,} of those admitted would be "
            f"denied, and {total.denied_to_admitted:,} of those denied admitted."
        )
    told += [
        f"Left out: {count:,} {_LEFT_OUT.get(why, why)}."
        for why, count in sorted(results.not_judged.items())
    ]
    if total.approximate:
        told.append(
            f"{total.approximate:,} were judged on incomplete numbers: a window began "
            "before the period, and nothing tells what had been used by then."
        )
    return told


def _decisions(count: int) -> str:
    return "1 decision" if count == 1 else f"{count:,} decisions"


def tables_of(results: Results) -> list[Table]:
    """Return the accounts and features, and examples of what flips."""
    groups = results.ranked()
    shown = groups[:_SHOWN]
    accounts = account_names({group.account_id for group in shown})
    more = len(groups) - len(shown)
    rest = f", the {_SHOWN} with most of {len(groups):,}" if more > 0 else ""
    return [
        Table(
            f"By account and feature{rest}",
            ("Account", "Feature", "Decisions", "Would be denied",
             "Would be admitted", "Why"),
            [_row(group, accounts.get(group.account_id, "")) for group in shown],
        ),
        Table(
            "Examples",
            ("When (UTC)", "User", "As it was", "Under the draft", "Decision"),
            _examples(shown),
            empty="No verdict flips.",
        ),
    ]  # fmt: skip


def _row(group: Group, principal: str) -> Sequence[Any]:
    counts = group.counts
    address = reverse("admin:billing_billingaccount_change", args=[group.account_id])
    reasons = (
        counts.reasons["admitted_to_denied"] + counts.reasons["denied_to_admitted"]
    )
    return (
        format_html('<a href="{}" class="text-link">{}</a>', address, principal),
        feature_text(group.feature_code) or "Unknown features",
        f"{counts.decisions:,}",
        f"{counts.admitted_to_denied:,}",
        f"{counts.denied_to_admitted:,}",
        "; ".join(
            f"{reason_text(reason, DENIAL_REASONS)}: {count:,}"
            for reason, count in reasons.most_common()
        )
        or "Nothing changes",
    )


def _examples(groups: Sequence[Group]) -> list[Sequence[Any]]:
    found = [example for group in groups for example in group.examples][:_EXAMPLES]
    users = user_names({example.user_id for example in found})
    return [
        (
            moment(example.at),
            users.get(example.user_id, ""),
            example.was,
            example.would,
            _decision(example),
        )
        for example in found
    ]


def _decision(example: Example) -> SafeString:
    """Return the way to the decision's own page."""
    lifted = example.flip == "denied_to_admitted"
    view = "admin:gating_denial_change" if lifted else "admin:gating_lease_change"
    address = reverse(view, args=[example.decision_id])
    return format_html('<a href="{}" class="text-link">Explained</a>', address)
