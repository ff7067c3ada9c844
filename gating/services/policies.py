"""Verbs on gate policies."""

from datetime import datetime
from typing import Any, TypedDict, Unpack

from django.db import transaction

from catalog.services.rows import locked, rewritten
from config.kernel.audit import AuditContext
from config.kernel.codes import normalize_code
from config.kernel.errors import Conflict, Invalid
from config.kernel.metadata import PolicyMetadata, check_metadata
from config.tenancy.history import auditing
from config.tenancy.services.events import record_event
from gating.models import (
    UNLIMITED_POLICY_NAME,
    EnforcementMode,
    GatePolicy,
    GatePolicyBundle,
    PolicyKind,
    PolicyStatus,
    SubjectScope,
)
from gating.projection import WILDCARD
from gating.services.seat_terms import require_billable

MAX_WINDOW_SECONDS = 2**31 - 1
SHAPE = ("feature_code", "kind", "subject_scope", "unit", "window_sec")
KEPT = ("name", "feature_code", "kind", "status")
"""What cannot change of the policy that governs what no other policy names."""
UNIQUE_PER_SHAPE = (PolicyStatus.DEFAULT, PolicyStatus.CEILING)


class PolicyFields(TypedDict, total=False):
    """What may be said of a policy; an absent key is left as it is.

    `limit_minor` (quota) and `limit_count` (rate, seats) None are unlimited.
    """

    name: str
    description: str
    feature_code: str
    kind: str
    subject_scope: str
    unit: str
    window_sec: int
    limit_count: int | None
    limit_minor: int | None
    status: str
    enforcement_mode: str
    metadata: dict[str, Any]


class PolicyExists(Conflict):
    """Another policy has this name or, for its status, this shape (409)."""


class PolicyKept(Conflict):
    """The realm's last resort: it governs each feature that no other policy names.

    Without it the gate would refuse those features (409).
    """


@transaction.atomic
def create_policy(
    *,
    bundle: GatePolicyBundle,
    at: datetime,
    by: AuditContext,
    **values: Unpack[PolicyFields],
) -> GatePolicy:
    """Create a policy in a bundle.

    Without a name it is called by what it limits. Refuses fields that do not fit its
    kind (`Invalid`), and a name or default or ceiling shape in use (`PolicyExists`).
    """
    bundle = locked(GatePolicyBundle.objects.all(), bundle)
    policy = drafted_policy(bundle=bundle, at=at, **values)
    with auditing(by, at=at):
        policy.save(force_insert=True)
        _announce("created", policy, at=at, by=by)
    return policy


@transaction.atomic
def change_policy(
    *,
    policy: GatePolicy,
    at: datetime,
    by: AuditContext,
    **values: Unpack[PolicyFields],
) -> GatePolicy:
    """Change the given fields of a policy; leases given before keep their terms.

    Refuses what `create_policy` refuses, and another name, feature, kind or status for
    the realm's last resort (`PolicyKept`).
    """
    policy = locked(GatePolicy.objects.select_related("bundle", "realm"), policy)
    _drafted, merged = drafted_change(policy=policy, **values)
    with auditing(by, at=at):
        if rewritten(policy, dict(merged), at=at):
            _announce("changed", policy, at=at, by=by)
    return policy


@transaction.atomic
def delete_policy(*, policy: GatePolicy, at: datetime, by: AuditContext) -> None:
    """Delete a policy; its history stays, and leases given before keep its terms.

    Refuses the realm's last resort (`PolicyKept`).
    """
    policy = locked(GatePolicy.objects.select_related("bundle", "realm"), policy)
    refuse_kept(policy)
    with auditing(by, at=at):
        _announce("deleted", policy, at=at, by=by)
        GatePolicy.objects.filter(pk=policy.pk).delete()


def drafted_policy(
    *, bundle: GatePolicyBundle, at: datetime, **values: Unpack[PolicyFields]
) -> GatePolicy:
    """Return what `create_policy` would create, unsaved. Refuses what it refuses."""
    policy = GatePolicy(
        realm=bundle.realm,
        bundle=bundle,
        updated_at=at,
        **{"window_sec": 0, **_normalized(values)},
    )
    policy.name = policy.name or _name_of(policy)
    _check(policy)
    _require_limit(policy, values)
    return policy


def drafted_change(
    *, policy: GatePolicy, **values: Unpack[PolicyFields]
) -> tuple[GatePolicy, PolicyFields]:
    """Return what `change_policy` would make of a policy, unsaved, and what it sets.

    Refuses what it refuses.
    """
    merged = _normalized(values)
    for field in KEPT:
        if merged.get(field, getattr(policy, field)) != getattr(policy, field):
            refuse_kept(policy, field)
    kind_changes = merged.get("kind", policy.kind) != policy.kind
    if kind_changes:
        # A limit of the other kind does not carry over.
        merged = {"limit_count": None, "limit_minor": None, **merged}
    drafted = GatePolicy(
        **{
            field.attname: merged.get(field.attname, getattr(policy, field.attname))
            for field in GatePolicy._meta.concrete_fields
        }
    )
    _check(drafted)
    if _target(drafted) not in {None, WILDCARD}:
        refuse_kept(policy, "metadata.feature_code")
    if kind_changes:
        _require_limit(drafted, values)
    return drafted, merged


def _target(policy: GatePolicy) -> str | None:
    """Return the feature that the metadata names in place of the policy's own."""
    known = check_metadata(PolicyMetadata, policy.metadata).known
    return known.feature_code or known.params.feature_code


def refuse_kept(policy: GatePolicy, field: str | None = None) -> None:
    """Refuse (`PolicyKept`) to take away the last resort, or to change its `field`."""
    if policy.name == UNLIMITED_POLICY_NAME:
        what = f"its {field} cannot change" if field else "it cannot be deleted"
        raise PolicyKept(
            f"{policy.name} governs every feature that no other policy names, so "
            f"{what}. Change its limit, or create other policies.",
            field=field,
        )


def _normalized(values: PolicyFields) -> PolicyFields:
    code = values.get("feature_code")
    if code is None or code.strip() == WILDCARD:
        return values if code is None else {**values, "feature_code": WILDCARD}
    return {**values, "feature_code": normalize_code(code, "feature_code")}


def _name_of(policy: GatePolicy) -> str:
    what = f"{policy.feature_code} {policy.kind} of {policy.unit}"
    per = f"per {policy.window_sec} s and {policy.subject_scope}"
    return f"{what} {per} ({policy.bundle.bundle_key})"


def _check(policy: GatePolicy) -> None:
    for field, choices in (
        ("kind", PolicyKind),
        ("subject_scope", SubjectScope),
        ("status", PolicyStatus),
        ("enforcement_mode", EnforcementMode),
    ):
        if getattr(policy, field) not in choices.values:
            raise Invalid(
                f"{field} must be one of {', '.join(choices.values)}.", field=field
            )
    for field in ("name", "unit"):
        if not getattr(policy, field).strip():
            raise Invalid(f"{field} must not be blank.", field=field)
    known = check_metadata(PolicyMetadata, policy.metadata).known
    _check_window(policy)
    require_billable(policy, known)
    _check_limits(policy)
    _check_unique(policy)


def _check_window(policy: GatePolicy) -> None:
    seats = policy.kind == PolicyKind.SEATS
    least = 0 if seats else 1
    if not least <= policy.window_sec <= MAX_WINDOW_SECONDS:
        raise Invalid(
            f"window_sec of a {policy.kind} policy lies between {least} and "
            f"{MAX_WINDOW_SECONDS}.",
            field="window_sec",
        )
    if seats and policy.unit != "seat":
        raise Invalid("The unit of a seats policy is seat.", field="unit")


def _limit_fields(policy: GatePolicy) -> tuple[str, str]:
    """Return the limit that the policy's kind has, and the one it has not."""
    if policy.kind == PolicyKind.QUOTA:
        return "limit_minor", "limit_count"
    return "limit_count", "limit_minor"


def _require_limit(policy: GatePolicy, given: PolicyFields) -> None:
    own, _ = _limit_fields(policy)
    if own not in given:
        raise Invalid(f"A {policy.kind} policy needs {own}.", field=own)


def _check_limits(policy: GatePolicy) -> None:
    own, foreign = _limit_fields(policy)
    if getattr(policy, foreign) is not None:
        raise Invalid(
            f"A {policy.kind} policy has {own}, not {foreign}.", field=foreign
        )
    limit = getattr(policy, own)
    if limit is None and policy.kind == PolicyKind.RATE:
        raise Invalid("A rate policy needs a limit_count of 0 or more.", field=own)
    if limit is not None and limit < 0:
        raise Invalid(f"{own} must be 0 or more; none is unlimited.", field=own)


def _check_unique(policy: GatePolicy) -> None:
    others = GatePolicy.objects.in_realm(policy.realm_id).exclude(pk=policy.pk)
    if others.filter(name=policy.name).exists():
        raise PolicyExists(f"There is a policy {policy.name} already.", field="name")
    shape = {field: getattr(policy, field) for field in SHAPE}
    same = others.filter(status=policy.status, **shape).first()
    if policy.status in UNIQUE_PER_SHAPE and same is not None:
        raise PolicyExists(
            f"The {policy.status} policy {same.name} has that feature, kind, scope, "
            "unit and window already.",
            field="status",
        )


def _announce(what: str, policy: GatePolicy, *, at: datetime, by: AuditContext) -> None:
    record_event(
        realm=policy.realm,
        kind=f"gate_policy.{what}",
        subject=policy,
        payload={"name": policy.name, "bundle_key": policy.bundle.bundle_key},
        at=at,
        by=by,
    )
