"""`/gate/holds`: live leases as people look after them."""

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from billing.api.context import account_in_realm
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.pagination import Sorting, items, page_limit, paginate
from config.api.views import ServiceView
from config.api.wire import (
    Code,
    Id,
    Instant,
    JsonObject,
    QueryFlag,
    UInt,
    WireModel,
)
from gating.models import Lease, LeaseEnd
from gating.options import options
from gating.selectors.holds import (
    HeldInAll,
    HeldTogether,
    HoldFilters,
    held_together,
    hold_of,
    holds,
)
from gating.selectors.orphans import Orphaned, orphaned

OLDEST_FIRST = Sorting(descending=False)
State = Literal["active", "closed", "expired", "canceled"]
Mode = Literal["prepaid", "postpaid", "hybrid"]
Seconds = Annotated[UInt, Field(le=2**31 - 1)]
SHOWN_AS_STORED = (
    "lease", "state", "feature_code", "feature_family_code", "billing_mode",
    "reserved_minor", "reserved_xusd", "budget", "window_start", "window_end",
    "authorized_at", "expires_at", "ended_at", "labels", "idempotency_key", "trace_id",
)  # fmt: skip


class OrphanedOut(WireModel):
    """Why a hold is an orphan: a stable reason, and a sentence for people."""

    reason: Literal["not_swept", "user_inactive", "plan_ended", "feature_off", "slow"]
    sentence: str

    @classmethod
    def of(cls, found: Orphaned) -> "OrphanedOut":
        """Return the wire form of a reason."""
        return cls(reason=cast("Any", found.reason), sentence=found.sentence)


class HoldEndOut(WireModel):
    """Who ended a hold by decision, when and why."""

    kind: Literal["released", "committed"]
    actor: str
    operator: str
    reason: str
    ticket_id: str
    effective_at: Instant
    trace_id: str

    @classmethod
    def of(cls, end: LeaseEnd) -> "HoldEndOut":
        """Return the wire form of an end."""
        return cls(
            kind=cast("Any", end.kind),
            actor=f"{end.actor_kind}:{end.actor_id}",
            operator=end.operator,
            reason=end.reason,
            ticket_id=end.ticket_id,
            effective_at=end.effective_at,
            trace_id=end.trace_id,
        )


class HoldOut(WireModel):
    """A lease: what it holds, for whom, who asked, until when, and how it ended.

    `reserved_minor` counts in `unit`; `budget` is the one named, where one was. While
    it is active that much is held; afterwards the numbers say what was.
    `committable_until` is `expires_at` and its grace; `age_seconds` counts to its end,
    or to now. `lease`, `labels`, `idempotency_key` and `trace_id` are those of the
    authorize. `orphaned` says why nobody is likely to commit it, and is empty where
    somebody may.
    """

    lease_id: Id
    lease: str
    state: State
    billing_account_id: Id
    principal_id: str
    billing_user_id: Id
    user_id: str
    feature_code: str
    feature_family_code: str
    billing_mode: Mode
    reserved_minor: UInt
    unit: str
    reserved_xusd: UInt
    budget: str | None
    window_start: Instant
    window_end: Instant
    authorized_at: Instant
    expires_at: Instant
    committable_until: Instant
    ended_at: Instant | None
    age_seconds: int
    labels: JsonObject
    idempotency_key: str
    trace_id: str
    commit_id: Id | None
    orphaned: list[OrphanedOut]
    ended_by: HoldEndOut | None

    @classmethod
    def of(cls, lease: Any, at: datetime) -> "HoldOut":
        """Return the wire form of a lease read by `holds`, as it stands at `at`."""
        stored: dict[str, Any] = {
            name: getattr(lease, name) for name in SHOWN_AS_STORED
        }
        ended_by = [HoldEndOut.of(end) for end in lease.ended_by]
        return cls(
            lease_id=lease.pk,
            billing_account_id=lease.account_id,
            principal_id=lease.account.billing_principal_id,
            billing_user_id=lease.user_id,
            user_id=lease.user.business_user_id,
            unit=lease.counted_unit,
            committable_until=lease.expires_at + options().lease_grace,
            age_seconds=_seconds(lease.authorized_at, lease.ended_at or at),
            commit_id=lease.rating_id,
            orphaned=[OrphanedOut.of(found) for found in orphaned(lease, at)],
            ended_by=ended_by[0] if ended_by else None,
            **stored,
        )


class HoldPage(WireModel):
    """A page of holds, the oldest first."""

    items: list[HoldOut]
    next_cursor: str | None = None


class HeldOut(WireModel):
    """Live holds of one account, feature and unit, together.

    `reserved_minor` counts in `unit`.
    """

    billing_account_id: Id
    principal_id: str
    feature_code: str
    unit: str
    count: int
    orphaned_count: int
    oldest_authorized_at: Instant
    oldest_age_seconds: int
    reserved_minor: str
    reserved_xusd: str

    @classmethod
    def of(cls, row: HeldTogether, at: datetime) -> "HeldOut":
        """Return the wire form of a sum."""
        return cls(
            billing_account_id=row.account_id,
            principal_id=row.principal_id,
            feature_code=row.feature_code,
            unit=row.unit,
            count=row.count,
            orphaned_count=row.orphaned_count,
            oldest_authorized_at=row.oldest_at,
            oldest_age_seconds=_seconds(row.oldest_at, at),
            reserved_minor=str(row.reserved_minor),
            reserved_xusd=str(row.reserved_xusd),
        )


class HeldTotalOut(WireModel):
    """All live holds together; without any, there is no oldest."""

    count: int
    orphaned_count: int
    oldest_authorized_at: Instant | None
    oldest_age_seconds: int | None
    reserved_xusd: str

    @classmethod
    def of(cls, total: HeldInAll, at: datetime) -> "HeldTotalOut":
        """Return the wire form of the total."""
        oldest = total.oldest_at
        return cls(
            count=total.count,
            orphaned_count=total.orphaned_count,
            oldest_authorized_at=oldest,
            oldest_age_seconds=None if oldest is None else _seconds(oldest, at),
            reserved_xusd=str(total.reserved_xusd),
        )


class HoldSummaryOut(WireModel):
    """Live holds by account, feature and unit, those with the oldest hold first.

    `total` is of all of them, also of those beyond `limit`.
    """

    items: list[HeldOut]
    total: HeldTotalOut


class HeldQuery(WireModel):
    """Which live holds to add up, and how many rows of sums to show."""

    limit: str | None = None
    billing_account_id: Id | None = None
    billing_user_id: Id | None = None
    feature_code: Code | None = None
    older_than_seconds: Seconds | None = None
    expiring_before: Instant | None = None

    def where(self) -> HoldFilters:
        """Return which holds are asked for."""
        return HoldFilters(**self.given("limit", "cursor"))


class HoldQuery(HeldQuery):
    """Filters of the list of holds: the live ones, where no state is given.

    Holds that have ended are listed of one account or user only.
    """

    cursor: str | None = None
    state: State = "active"
    orphaned: QueryFlag | None = None


class HoldsView(ServiceView):
    """`/gate/holds`."""

    @operation("list_gate_holds", query=HoldQuery, answer=HoldPage)
    def get(self, call: Call, query: HoldQuery) -> Answer:
        """List holds, the oldest first; those that are live, unless told."""
        allowed = call.caller.allowed_accounts
        page = paginate(
            holds(call.realm, query.where(), at=call.at, allowed=allowed),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
            sorting=OLDEST_FIRST,
        )
        return Answer(items(page, lambda lease: HoldOut.of(lease, call.at)))


class HoldSummaryView(ServiceView):
    """`/gate/holds/summary`."""

    @operation("summarize_gate_holds", query=HeldQuery, answer=HoldSummaryOut)
    def get(self, call: Call, query: HeldQuery) -> Answer:
        """Add up live holds by account and feature, and count the orphans."""
        rows, total = held_together(
            call.realm,
            query.where(),
            limit=page_limit(query.limit),
            at=call.at,
            allowed=call.caller.allowed_accounts,
        )
        return Answer(
            HoldSummaryOut(
                items=[HeldOut.of(row, call.at) for row in rows],
                total=HeldTotalOut.of(total, call.at),
            )
        )


class HoldView(ServiceView):
    """`/gate/holds/{lease_id}`."""

    @operation("get_gate_hold", answer=HoldOut)
    def get(self, call: Call, lease_id: str) -> Answer:
        """Read one hold, live or ended."""
        return Answer(HoldOut.of(hold_in_realm(call, lease_id), call.at))


def hold_in_realm(call: Call, lease_id: str) -> Lease:
    """Return the realm's hold of that id. Refuses as `account_in_realm`."""
    lease = hold_of(call.realm, lease_id, at=call.at)
    account_in_realm(call, lease.account_id)
    return lease


def _seconds(since: datetime, at: datetime) -> int:
    return max(0, int((at - since).total_seconds()))
