"""Billing seats: each seat of a window that ended becomes one rating, once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

import structlog
from django.db import connection, transaction

from billing.models import BillingAccount, BillingUser
from catalog.models import Meter
from config.kernel.audit import AuditContext
from config.kernel.errors import Misconfigured
from gating.seats import SeatPolicy, Span
from gating.selectors.rules import Resolved, resolve
from gating.selectors.seat_plans import AccountPlans
from gating.selectors.seats import (
    FIRST,
    DueAccount,
    HeldSeat,
    accounts_due,
    held_seats,
    next_held_at,
    seat_policies,
)
from gating.services.seat_ratings import SeatBill, rate_seat
from gating.services.state import lock_gate

log = structlog.get_logger("plangate.gate")

ACCOUNTS_AT_ONCE = 500
SEATS_AT_ONCE = 20
"""Seats rated under one hold of an account's lock, so that its callers wait little."""
WINDOWS_PER_RUN = 2_000

_MARK = """
INSERT INTO gate_seat_billings AS known (
    id, realm_id, account_id, policy_id, billed_until)
VALUES (gen_random_uuid(), %s, %s, %s, %s)
ON CONFLICT (realm_id, account_id, policy_id) DO UPDATE
SET billed_until = greatest(known.billed_until, excluded.billed_until)
"""


class SeatFeatureGone(Misconfigured):
    """The feature that a policy's seats are billed as is not there any more (500)."""


@dataclass(slots=True)
class SeatsBilled:
    """What a run came to: seats rated, windows looked at, accounts that failed.

    `failed` holds pairs of policy and account; they are tried again by the next run.
    """

    rated: int = 0
    windows: int = 0
    failed: set[tuple[UUID, UUID]] = field(default_factory=set)


def bill_seats(
    *, at: datetime, by: AuditContext, most: int = WINDOWS_PER_RUN
) -> SeatsBilled:
    """Rate the seats of every window that ended by `at` (aware UTC), each once.

    Looks at `most` windows of accounts, the next run goes on. An account at a time,
    20 seats in a transaction under its lock; one that fails is logged and counted,
    and the others go on. Cut off anywhere, or run twice at once, it rates each seat
    once: the rating's key is unique by policy, user and window.
    """
    billed = SeatsBilled()
    for policy in seat_policies():
        for due in _due(policy, at):
            if (policy.policy_id, due.account_id) not in billed.failed:
                _bill_account(policy, due, billed, at=at, by=by, most=most)
            if billed.windows >= most:
                return billed
    return billed


def _due(policy: SeatPolicy, at: datetime) -> Iterator[DueAccount]:
    after = FIRST
    while found := accounts_due(policy, at=at, after=after, most=ACCOUNTS_AT_ONCE):
        yield from found
        after = found[-1].account_id


def _bill_account(
    policy: SeatPolicy,
    due: DueAccount,
    billed: SeatsBilled,
    *,
    at: datetime,
    by: AuditContext,
    most: int,
) -> None:
    """Bill the account's windows one after the other, as many as may be looked at."""
    try:
        account = _account(policy, due.account_id)
        for span in _spans(policy, due, until=policy.ended_by(at)):
            billed.rated += _bill_span(policy, account, span, at=at, by=by)
            billed.windows += 1
            if billed.windows >= most:
                return
        _mark(policy, account.pk, policy.ended_by(at))
    except Exception:
        # Whatever it is about one account must not keep the others from being billed.
        log.exception(
            "seats were not billed",
            realm=policy.realm_id,
            account=str(due.account_id),
            policy=policy.name,
        )
        billed.windows += 1
        billed.failed.add((policy.policy_id, due.account_id))


def _account(policy: SeatPolicy, account_id: UUID) -> BillingAccount:
    accounts = BillingAccount.objects.in_realm(policy.realm_id)
    return accounts.select_related("realm").get(pk=account_id)


def _spans(policy: SeatPolicy, due: DueAccount, *, until: datetime) -> Iterator[Span]:
    """Yield the windows to bill, those without any seat left out.

    One that begins before what is billed ends had another length then: passed over.
    """
    since = max(policy.begins, due.billed_until or policy.begins)
    while since < until:
        held_at = next_held_at(policy, due.account_id, since=since, until=until)
        window = None if held_at is None else policy.window(held_at)
        if window is None or window.end is None:
            return
        if window.start >= since:
            yield Span(window.start, window.end)
        since = window.end


def _bill_span(
    policy: SeatPolicy,
    account: BillingAccount,
    span: Span,
    *,
    at: datetime,
    by: AuditContext,
) -> int:
    """Rate the seats of one window; return how many were not rated before."""
    seats = held_seats(policy, account.pk, span=span)
    plans = AccountPlans(account)
    rated = 0
    for start in range(0, len(seats), SEATS_AT_ONCE):
        some = seats[start : start + SEATS_AT_ONCE]
        bills = list(_bills(policy, span, some, plans))
        with transaction.atomic():
            lock_gate(account.realm_id, account.pk)
            rated += sum(rate_seat(bill, at=at, by=by) for bill in bills)
    _mark(policy, account.pk, span.end)
    return rated


def _bills(
    policy: SeatPolicy, span: Span, seats: Sequence[HeldSeat], plans: AccountPlans
) -> Iterator[SeatBill]:
    """Yield what is to be billed: the seats of users whom the policy governed."""
    users = BillingUser.objects.in_realm(policy.realm_id).in_bulk(
        [seat.user_id for seat in seats]
    )
    one_seat = _one_seat(policy)
    for seat in seats:
        mode = plans.governed_mode(
            policy, seat.user_id, since=seat.since, until=span.end
        )
        if mode is None:
            continue
        user = users[seat.user_id]
        resolved = _resolved(policy, plans.account, user, at=span.last)
        yield SeatBill(
            policy=policy,
            account=plans.account,
            user=user,
            span=span,
            since=seat.since,
            rules=replace(resolved.rules, billing_mode=mode),
            assignment_id=resolved.assignment_id,
            quantity_minor=one_seat,
        )


def _resolved(
    policy: SeatPolicy, account: BillingAccount, user: BillingUser, *, at: datetime
) -> Resolved:
    feature_code = policy.terms.feature_code
    found = resolve(account=account, user=user, feature_code=feature_code, at=at)
    if found is None:
        raise SeatFeatureGone(
            f"{policy.name} bills seats as {feature_code}, which is not there any more."
        )
    return found


def _one_seat(policy: SeatPolicy) -> int:
    """Return one seat in the smallest unit of the meter it is billed on."""
    meters = Meter.objects.in_realm(policy.realm_id)
    scale = meters.values_list("scale", flat=True)
    return int(10 ** scale.get(meter_code=policy.terms.meter_code))


def _mark(policy: SeatPolicy, account_id: UUID, until: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_MARK, [policy.realm_id, account_id, policy.policy_id, until])
