"""A decision as a table of its checks, for people."""

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from gating.selectors.decisions import Decision

_OUTCOMES = {"passed": "Passed", "failed": "Failed here", "not_reached": "Not reached"}
_NAMES = {
    "feature": "Feature",
    "entitlement": "Entitlement",
    "policies": "Policies",
    "seats": "Seats",
    "quota": "Quota",
    "rate": "Rate",
    "budget": "Budget",
    "funding": "Money",
}


def explained(decision: Decision) -> SafeString:
    """Return each check of a decision: how it came out, and why."""
    rows = format_html_join(
        "",
        '<tr class="plangate-check-{}"><th scope="row">{}</th>'
        "<td>{}</td><td>{}</td></tr>",
        (
            (
                check.outcome,
                _NAMES[check.name],
                _OUTCOMES[check.outcome],
                " ".join(check.sentences),
            )
            for check in decision.explanation.checks
        ),
    )
    return format_html(
        '<p>{}</p><table class="plangate-checks"><tbody>{}</tbody></table><p>{}</p>',
        decision.explanation.headline,
        rows,
        "Decided again on what was known then, it is the same."
        if decision.agrees
        else "Decided again on what was known then, it is NOT: tell an engineer.",
    )
