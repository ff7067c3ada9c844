"""Holds as the desk sees them: live leases, the sums of them, and how they ended."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import (
    Count,
    Min,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    Sum,
    TextField,
    Value,
)
from django.db.models.functions import Coalesce

from config.kernel.errors import Invalid, NotFound
from config.kernel.ids import parse_uuid
from config.tenancy.models import Realm
from gating.models import GatePolicy, Lease, LeaseEnd, LeaseState
from gating.selectors.orphans import Orphans


def with_unit(leases: QuerySet[Lease]) -> QuerySet[Lease]:
    """Return leases with `counted_unit`: what their policy counts in, else `unit`."""
    policies = GatePolicy.objects.filter(
        pk=OuterRef("policy_id"), realm_id=OuterRef("realm_id")
    )
    unit = Coalesce(Subquery(policies.values("unit")[:1]), Value("unit", TextField()))
    return leases.annotate(counted_unit=unit)


@dataclass(frozen=True, slots=True)
class HoldFilters:
    """Which holds to read; None asks for any.

    `expiring_before` is an aware UTC instant; `orphaned` asks for orphans, or for all
    others.
    """

    billing_account_id: UUID | None = None
    billing_user_id: UUID | None = None
    feature_code: str | None = None
    state: str = LeaseState.ACTIVE
    older_than_seconds: int | None = None
    expiring_before: datetime | None = None
    orphaned: bool | None = None

    def condition(self, orphans: Orphans) -> Q:
        """Return the condition that all of them hold, at the instant of `orphans`.

        Refuses holds that have ended where they are of nobody in particular (422): an
        index finds those of an account or user.
        """
        if self.state != LeaseState.ACTIVE and not (
            self.billing_account_id or self.billing_user_id
        ):
            raise Invalid(
                "Holds that have ended are listed of one account or user: name it by "
                "billing_account_id or billing_user_id.",
                field="billing_account_id",
            )
        found = Q(state=self.state)
        if self.billing_account_id:
            found &= Q(account_id=self.billing_account_id)
        if self.billing_user_id:
            found &= Q(user_id=self.billing_user_id)
        if self.feature_code:
            found &= Q(feature_code=self.feature_code)
        if self.older_than_seconds is not None:
            age = timedelta(seconds=self.older_than_seconds)
            found &= Q(authorized_at__lt=orphans.at - age)
        if self.expiring_before:
            found &= Q(expires_at__lt=self.expiring_before)
        if self.orphaned is not None:
            found &= orphans.condition if self.orphaned else ~orphans.condition
        return found


def holds(
    realm: Realm, where: HoldFilters, *, at: datetime, allowed: Collection[str] = ()
) -> QuerySet[Lease]:
    """Return the realm's leases of `where` with all that the desk shows of each.

    Account and user, `counted_unit`, why it is an orphan (`orphaned`), and `ended_by`:
    its `LeaseEnd`, in a list. `allowed` limits to accounts of those ids, when the
    caller's key is limited to some. The index of live leases finds those of a realm.
    """
    orphans = Orphans.found(at=at, realm_id=realm.pk)
    leases = _of_realm(realm, allowed).filter(where.condition(orphans))
    return complete(leases, orphans)


def hold_of(realm: Realm, lease_id: str, *, at: datetime) -> Lease:
    """Return the realm's lease of that id, as `holds` does (404 if none)."""
    key = parse_uuid(lease_id)
    orphans = Orphans.found(at=at, realm_id=realm.pk)
    leases = complete(Lease.objects.in_realm(realm), orphans)
    lease = leases.filter(pk=key).first() if key else None
    if lease is None:
        raise NotFound(f"There is no hold {lease_id}.")
    return lease


def complete(leases: QuerySet[Lease], orphans: Orphans) -> QuerySet[Lease]:
    """Return leases with all that the desk shows of each (see `holds`)."""
    ends = Prefetch("ends", LeaseEnd.objects.all(), to_attr="ended_by")
    return (
        with_unit(orphans.marked(leases))
        .select_related("account", "user")
        .prefetch_related(ends)
    )


@dataclass(frozen=True, slots=True)
class HeldTogether:
    """Live holds of one account, feature and unit: how many, since when, and what.

    `reserved_minor` counts in `unit`, `reserved_xusd` in 10^-6 USD.
    """

    account_id: UUID
    principal_id: str
    feature_code: str
    unit: str
    count: int
    orphaned_count: int
    oldest_at: datetime
    reserved_minor: int
    reserved_xusd: int


@dataclass(frozen=True, slots=True)
class HeldInAll:
    """All of them: how many holds and orphans, since when, and the money held."""

    count: int
    orphaned_count: int
    oldest_at: datetime | None
    reserved_xusd: int


def held_together(
    realm: Realm,
    where: HoldFilters,
    *,
    limit: int,
    at: datetime,
    allowed: Collection[str] = (),
) -> tuple[list[HeldTogether], HeldInAll]:
    """Return the holds of `where` added up by account and feature, and all of them.

    At most `limit` rows, those with the oldest hold first.
    """
    orphans = Orphans.found(at=at, realm_id=realm.pk)
    leases = _of_realm(realm, allowed).filter(where.condition(orphans))
    sums: dict[str, Any] = {
        "count": Count("pk"),
        "orphaned_count": Count("pk", filter=orphans.condition),
        "oldest_at": Min("authorized_at"),
        "money": Coalesce(Sum("reserved_xusd"), Value(0)),
    }
    by = ("account_id", "account__billing_principal_id", "feature_code", "counted_unit")
    rows = (
        with_unit(leases)
        .values(*by)
        .annotate(quantity=Sum("reserved_minor"), **sums)
        .order_by("oldest_at", *by)[:limit]
    )
    total = leases.aggregate(**sums)
    return [_together(row) for row in rows], HeldInAll(
        total["count"], total["orphaned_count"], total["oldest_at"], total["money"]
    )


def _together(row: Any) -> HeldTogether:
    return HeldTogether(
        account_id=row["account_id"],
        principal_id=row["account__billing_principal_id"],
        feature_code=row["feature_code"],
        unit=row["counted_unit"],
        count=row["count"],
        orphaned_count=row["orphaned_count"],
        oldest_at=row["oldest_at"],
        reserved_minor=row["quantity"],
        reserved_xusd=row["money"],
    )


def _of_realm(realm: Realm, allowed: Collection[str]) -> QuerySet[Lease]:
    leases = Lease.objects.in_realm(realm)
    if allowed:
        keys = [key for key in map(parse_uuid, allowed) if key]
        leases = leases.filter(account__in=keys)
    return leases
