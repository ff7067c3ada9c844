"""What a seats policy that is billed says must be sound, and what it names be there."""

from catalog.models import Feature, FeatureMeter, Meter, SemanticKind
from config.kernel.errors import Invalid
from config.kernel.metadata import PolicyMetadata
from gating.models import GatePolicy, PolicyKind
from gating.seats import BILLING_KEYS, SeatTerms, seat_terms


def require_billable(policy: GatePolicy, known: PolicyMetadata) -> None:
    """Refuse (`Invalid`, on `metadata.…`) billing keys that could bill nothing.

    All three or none, of seats only; the feature and the activity meter linked to it
    must be of the realm; `active_window` needs a window.
    """
    given = [key for key in BILLING_KEYS if getattr(known, key) is not None]
    if not given:
        return
    if policy.kind != PolicyKind.SEATS:
        raise _invalid(given[0], f"belongs to seats; this policy is a {policy.kind}")
    terms = seat_terms(known)
    if terms is None:
        missing = next(key for key in BILLING_KEYS if key not in given)
        raise _invalid(missing, f"is required beside {given[0]}")
    if terms.mode == "active_window" and policy.window_sec == 0:
        raise _invalid(
            "billing_mode",
            "active_window bills a window, and window_sec 0 has none: use assigned",
        )
    _require_linked(policy.realm_id, terms)


def _require_linked(realm_id: str, terms: SeatTerms) -> None:
    feature = (
        Feature.objects.in_realm(realm_id)
        .filter(feature_code=terms.feature_code)
        .first()
    )
    if feature is None:
        raise _invalid(
            "billing_feature_code",
            f"names no feature of this realm: there is no {terms.feature_code}",
        )
    meter = Meter.objects.in_realm(realm_id).filter(meter_code=terms.meter_code).first()
    links = FeatureMeter.objects.in_realm(realm_id).filter(feature=feature, meter=meter)
    if meter is None or not links.exists():
        raise _invalid(
            "billing_meter_code",
            f"names no meter of {terms.feature_code}: {terms.meter_code}",
        )
    if meter.semantic_kind != SemanticKind.ACTIVITY:
        raise _invalid(
            "billing_meter_code",
            f"names an activity meter; {terms.meter_code} counts outcomes",
        )


def _invalid(key: str, predicate: str) -> Invalid:
    path = f"metadata.{key}"
    return Invalid(f"{path} {predicate}.", field=path)
