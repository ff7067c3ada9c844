"""What was used, and is held, in the windows that hold now."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from billing.models import BillingAccount, BillingUser
from gating.facts import (
    CounterKey,
    CounterKind,
    PolicyWindow,
    SubjectScope,
)
from gating.models import Counter
from gating.projection import PolicyFact, counter_of


@dataclass(frozen=True, slots=True)
class CounterState:
    """A stored counter."""

    counter_id: UUID
    used_minor: int
    reserved_minor: int


Counters = Mapping[CounterKey, CounterState]


def counters_of(
    *,
    account: BillingAccount,
    user: BillingUser,
    at: datetime,
    feature_code: str | None = None,
) -> dict[CounterKey, CounterState]:
    """Return the counters of the account and the user in windows that contain `at`."""
    rows = Counter.objects.in_realm(account.realm_id).filter(
        account=account,
        subject_id__in=[account.pk, user.pk],
        window_start__lte=at,
        window_end__gt=at,
    )
    if feature_code is not None:
        rows = rows.filter(feature_code=feature_code)
    return {
        CounterKey(
            kind=cast("CounterKind", row.kind),
            scope=cast("SubjectScope", row.subject_scope),
            subject_id=row.subject_id,
            feature_code=row.feature_code,
            key=row.key,
            window_start=row.window_start,
            window_end=row.window_end,
        ): CounterState(row.pk, row.used_minor, row.reserved_minor)
        for row in rows
    }


def policy_windows(
    policies: Iterable[PolicyFact],
    counters: Counters,
    *,
    feature_code: str,
    account: BillingAccount,
    user: BillingUser,
    at: datetime,
) -> list[PolicyWindow]:
    """Return quota or rate policies in the window of `at`, with what was used."""
    windows = []
    for policy in policies:
        key = counter_of(
            policy,
            feature_code=feature_code,
            account_id=account.pk,
            user_id=user.pk,
            at=at,
        )
        state = counters.get(key)
        windows.append(
            PolicyWindow(
                policy_id=policy.policy_id,
                name=policy.name,
                window_seconds=policy.window_seconds,
                limit=policy.limit,
                enforcement=policy.enforcement,
                version=policy.version,
                counter=key,
                used_minor=state.used_minor if state else 0,
                reserved_minor=state.reserved_minor if state else 0,
            )
        )
    return windows
