"""Orphans: live holds that nobody is likely to commit any more, and why.

What an orphan is stands in docs/gate.md, "The hold desk". One condition per reason, so
that a list, a sum and a sentence can never disagree.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.db import connection
from django.db.models import (
    BooleanField,
    Case,
    DurationField,
    Exists,
    ExpressionWrapper,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)

from billing.models import PlanAssignment, UserStatus
from billing.selectors.assignments import in_effect
from catalog.models import Feature
from gating.lengths import age_text, duration_text
from gating.models import Lease, LeaseState
from gating.options import options

TIMES = 10
"""How many times the usual time to commit a hold may take."""

AT_LEAST = timedelta(hours=1)
"""No hold is slow before this, however quick its feature is usually."""

SAMPLE, ENOUGH = 500, 20
"""Commits of the realm that tell what is usual, and how many of a feature it takes."""

LIVE = Q(state=LeaseState.ACTIVE)
_NEVER = Q(pk__in=[])
_MARK = "orphan_"

# Only of realms that hold something for long enough to be slow.
_USUAL = """
SELECT o.realm_id, l.feature_code,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY r.rated_at - l.authorized_at)
FROM (
    SELECT DISTINCT realm_id FROM gate_leases
    WHERE state = 'active' AND authorized_at < %(before)s
        AND (%(realm)s::text IS NULL OR realm_id = %(realm)s)
) o
CROSS JOIN LATERAL (
    SELECT id, lease_id, rated_at FROM gate_ratings
    WHERE realm_id = o.realm_id AND rated_at <= %(at)s AND lease_id IS NOT NULL
        AND operation = 'commit'
    ORDER BY rated_at DESC LIMIT %(sample)s
) r
JOIN gate_leases l ON l.id = r.lease_id AND l.rating_id = r.id
GROUP BY o.realm_id, l.feature_code
HAVING count(*) >= %(enough)s
"""

Usual = Mapping[tuple[str, str], timedelta]
"""The usual time to commit, by realm and feature."""


@dataclass(frozen=True, slots=True)
class Orphaned:
    """Why a hold is an orphan: a stable code, and a sentence for people."""

    reason: str
    sentence: str


class Orphans:
    """What is an orphan at one instant; made once for all holds of an answer.

    The reasons, in this order: `not_swept`, `user_inactive`, `plan_ended`,
    `feature_off`, `slow`.
    """

    def __init__(self, at: datetime, usual: Usual) -> None:
        self.at, self.usual = at, usual
        self.conditions: dict[str, Q] = {
            "not_swept": Q(expires_at__lt=at - options().lease_grace),
            "user_inactive": ~Q(user__status=UserStatus.ACTIVE),
            "plan_ended": Q(~_has_a_plan(at), plan_assignment__isnull=False),
            "feature_off": Q(~_has_its_feature()),
            "slow": _is_slow(at, usual),
        }

    @classmethod
    def found(cls, *, at: datetime, realm_id: str | None = None) -> "Orphans":
        """Return what is an orphan at `at` (aware UTC) in one realm, or in all."""
        arguments: dict[str, Any] = {
            "at": at,
            "before": at - AT_LEAST,
            "realm": realm_id,
            "sample": SAMPLE,
            "enough": ENOUGH,
        }
        with connection.cursor() as cursor:
            cursor.execute(_USUAL, arguments)
            usual = {(realm, code): time for realm, code, time in cursor.fetchall()}
        return cls(at, usual)

    @property
    def condition(self) -> Q:
        """Return the condition that a lease is an orphan."""
        return LIVE & reduce(or_, self.conditions.values())

    def marked(self, leases: QuerySet[Lease]) -> QuerySet[Lease]:
        """Return leases that `told` can tell of, read with them."""
        marks: dict[str, Any] = {
            f"{_MARK}{reason}": ExpressionWrapper(LIVE & condition, BooleanField())
            for reason, condition in self.conditions.items()
        }
        usual = Case(
            *(
                When(realm_id=realm, feature_code=code, then=Value(time))
                for (realm, code), time in self.usual.items()
            ),
            default=None,
            output_field=DurationField(),
        )
        return leases.annotate(usual_time=usual, **marks)


def orphaned(lease: Any, at: datetime) -> list[Orphaned]:
    """Return why a lease of `Orphans.marked` is an orphan; [] where it is none."""
    age = at - lease.authorized_at
    sentences = {
        "not_swept": f"It ran out {age_text(at - lease.expires_at)} ago and was not "
        "given back: the worker is behind.",
        "user_inactive": f"Its user is {lease.user.status}, so nobody may commit it.",
        "plan_ended": "Neither the account nor the user has a plan in effect any more.",
        "feature_off": f"The feature {lease.feature_code} is switched off or gone.",
        "slow": f"It has been held for {age_text(age)}; half of the commits of "
        f"{lease.feature_code} come within {_up(lease.usual_time)}.",
    }
    return [
        Orphaned(reason, sentence)
        for reason, sentence in sentences.items()
        if getattr(lease, f"{_MARK}{reason}")
    ]


def _up(time: timedelta | None) -> str:
    """Return a time in whole seconds, rounded up."""
    return duration_text(-(-(time or timedelta()) // timedelta(seconds=1)))


def _has_a_plan(at: datetime) -> Exists:
    governing = Q(user__isnull=True) | Q(user_id=OuterRef("user_id"))
    return Exists(
        PlanAssignment.objects.filter(
            in_effect(at),
            governing,
            realm_id=OuterRef("realm_id"),
            account_id=OuterRef("account_id"),
        )
    )


def _has_its_feature() -> Exists:
    return Exists(
        Feature.objects.filter(
            realm_id=OuterRef("realm_id"),
            feature_code=OuterRef("feature_code"),
            active=True,
        )
    )


def _is_slow(at: datetime, usual: Usual) -> Q:
    slow = (
        Q(
            realm_id=realm,
            feature_code=code,
            authorized_at__lt=at - max(TIMES * time, AT_LEAST),
        )
        for (realm, code), time in usual.items()
    )
    return reduce(or_, slow, _NEVER)
