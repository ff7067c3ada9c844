"""The remainders that rating carries from one commit of a user to the next."""

from collections.abc import Iterable

from django.db import connection

from billing.models import BillingUser
from config.kernel.ids import new_id
from gating.models import ResidualBucket
from gating.pricing import MeterRate, PricingKind, RatedLine, rate_identity

KINDS: tuple[PricingKind, ...] = ("revenue", "cost")

_STORE = f"""
INSERT INTO {ResidualBucket._meta.db_table}
    (id, realm_id, user_id, meter_code, rate_identity, denom, remainder_numer)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (realm_id, user_id, meter_code, rate_identity)
DO UPDATE SET remainder_numer = excluded.remainder_numer
"""  # noqa: S608 - the table name is ours.


class Remainders:
    """A user's remainders under some rates: read once, carried on, then stored."""

    def __init__(self, user: BillingUser, rates: Iterable[MeterRate]) -> None:
        self._user = user
        identities = [rate_identity(rate, kind) for rate in rates for kind in KINDS]
        rows = ResidualBucket.objects.in_realm(user.realm_id).filter(
            user=user, rate_identity__in=identities
        )
        self._carried = {row.rate_identity: row.remainder_numer for row in rows}
        self._changed: dict[str, tuple[str, int]] = {}

    def carried(self, rate: MeterRate, kind: PricingKind) -> int:
        """Return what is carried under one side of a rate; 0 under a new one."""
        return self._carried.get(rate_identity(rate, kind), 0)

    def take_up(self, line: RatedLine, rate: MeterRate) -> None:
        """Carry on what a line leaves, for the next line under the same rate."""
        for kind, side in zip(KINDS, (line.revenue, line.cost), strict=True):
            identity = side.rate_identity
            carried = side.next_remainder_numer
            if identity is None or carried == self._carried.get(identity, 0):
                continue
            self._carried[identity] = carried
            self._changed[identity] = (rate.meter_code, rate.price_of(kind)[1])

    def store(self) -> None:
        """Store what changed, under the account's lock."""
        with connection.cursor() as cursor:
            for identity, (meter_code, denom) in sorted(self._changed.items()):
                carried = self._carried[identity]
                bucket = (self._user.realm_id, self._user.pk, meter_code, identity)
                cursor.execute(_STORE, (new_id(), *bucket, denom, carried))
