"""Verbs on policy bundles."""

from datetime import datetime
from typing import Any, TypedDict, Unpack

from django.db import transaction

from billing.models import AssignmentStatus, Plan, PlanAssignment
from catalog.services.rows import locked, locked_or_inserted, rewritten
from config.kernel.audit import AuditContext
from config.kernel.codes import normalize_key
from config.kernel.errors import Conflict, Invalid
from config.kernel.metadata import BundleMetadata, check_metadata
from config.tenancy.history import auditing
from config.tenancy.models import Realm
from config.tenancy.services.events import record_event
from gating.models import (
    DEFAULT_BUNDLE_KEY,
    BundleStatus,
    GatePolicy,
    GatePolicyBundle,
)


class BundleFields(TypedDict, total=False):
    """What may be said of a bundle; an absent key is left as it is."""

    name: str
    status: str
    metadata: dict[str, Any]


class BundleInUse(Conflict):
    """The bundle governs somebody, so it cannot be deleted (409).

    Nor can the default bundle be disabled, which governs whoever has no other.
    """


@transaction.atomic
def upsert_bundle(
    *,
    realm: Realm,
    bundle_key: str,
    at: datetime,
    by: AuditContext,
    **values: Unpack[BundleFields],
) -> tuple[GatePolicyBundle, bool]:
    """Create the bundle of that key or change it; return it and whether it is new.

    What is absent keeps what is stored; a new bundle is active. Refuses a bad key,
    status or metadata (`Invalid`), and to disable the default bundle (`BundleInUse`).
    """
    key = normalize_key(bundle_key, "bundle_key")
    _check(values)
    _refuse_disabled_default(key, values)
    new = GatePolicyBundle(realm=realm, bundle_key=key, updated_at=at, **values)
    same = GatePolicyBundle.objects.in_realm(realm).filter(bundle_key=key)
    with auditing(by, at=at):
        bundle, created = locked_or_inserted(same, new)
        if created:
            _announce("created", bundle, at=at, by=by)
        else:
            _rewrite(bundle, values, at=at, by=by)
    return bundle, created


@transaction.atomic
def change_bundle(
    *,
    bundle: GatePolicyBundle,
    at: datetime,
    by: AuditContext,
    **values: Unpack[BundleFields],
) -> GatePolicyBundle:
    """Change the given fields of a bundle.

    Refuses bad ones (`Invalid`), and to disable the default bundle (`BundleInUse`).
    """
    _check(values)
    _refuse_disabled_default(bundle.bundle_key, values)
    bundle = locked(GatePolicyBundle.objects.all(), bundle)
    with auditing(by, at=at):
        _rewrite(bundle, values, at=at, by=by)
    return bundle


@transaction.atomic
def delete_bundle(*, bundle: GatePolicyBundle, at: datetime, by: AuditContext) -> None:
    """Delete a bundle with its policies; their history stays.

    Refuses (`BundleInUse`) the realm's default bundle, and one that an active plan or
    an assignment not yet over names.
    """
    bundle = locked(GatePolicyBundle.objects.all(), bundle)
    _refuse_in_use(bundle, at=at)
    with auditing(by, at=at):
        GatePolicy.objects.filter(realm=bundle.realm_id, bundle=bundle).delete()
        _announce("deleted", bundle, at=at, by=by)
        GatePolicyBundle.objects.filter(pk=bundle.pk).delete()


def _refuse_in_use(bundle: GatePolicyBundle, *, at: datetime) -> None:
    key = bundle.bundle_key
    if key == DEFAULT_BUNDLE_KEY:
        raise BundleInUse(
            f"{key} governs everybody without another bundle, so it cannot be deleted."
        )
    plan = (
        Plan.objects.in_realm(bundle.realm_id)
        .filter(active=True, metadata__gate_bundle_key__iexact=key)
        .order_by("plan_code")
        .first()
    )
    if plan is not None:
        raise BundleInUse(f"The active plan {plan.plan_code} names the bundle {key}.")
    assignment = (
        PlanAssignment.objects.in_realm(bundle.realm_id)
        .filter(status=AssignmentStatus.ACTIVE, metadata__gate_bundle_key__iexact=key)
        .exclude(window_end__lte=at)
        .order_by("pk")
        .first()
    )
    if assignment is not None:
        raise BundleInUse(f"The plan assignment {assignment} names the bundle {key}.")


def _refuse_disabled_default(key: str, values: BundleFields) -> None:
    if key == DEFAULT_BUNDLE_KEY and values.get("status") == BundleStatus.DISABLED:
        raise BundleInUse(
            f"{key} governs everybody without another bundle, so it cannot be "
            "disabled.",
            field="status",
        )


def _check(values: BundleFields) -> None:
    if values.get("status", BundleStatus.ACTIVE) not in BundleStatus.values:
        raise Invalid(
            f"status must be one of {', '.join(BundleStatus.values)}.", field="status"
        )
    if "metadata" in values:
        check_metadata(BundleMetadata, values["metadata"])


def _rewrite(
    bundle: GatePolicyBundle, values: BundleFields, *, at: datetime, by: AuditContext
) -> None:
    if rewritten(bundle, dict(values), at=at):
        _announce("changed", bundle, at=at, by=by)


def _announce(
    what: str, bundle: GatePolicyBundle, *, at: datetime, by: AuditContext
) -> None:
    record_event(
        realm=bundle.realm,
        kind=f"gate_policy_bundle.{what}",
        subject=bundle,
        payload={"bundle_key": bundle.bundle_key},
        at=at,
        by=by,
    )
