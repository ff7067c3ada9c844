"""What the ledger of the stateful test speaks of."""

from dataclasses import dataclass
from datetime import datetime

ENDLESS = 2**63 - 1


@dataclass
class Policy:
    name: str
    kind: str
    scope: str
    feature: str
    key: str
    seconds: int
    limit: int | None
    reserves: bool = True

    @property
    def most(self):
        return ENDLESS if self.limit is None else self.limit

    @property
    def rank(self):
        return self.most, self.seconds, self.name


@dataclass(frozen=True)
class Plan:
    code: str
    priority: int
    mode: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class Price:
    """`price` for `per` units, and the same of cost; `blocks` sells whole ones only."""

    version: object
    price: int
    per: int
    cost: int
    cost_per: int
    blocks: str | None = None

    def at_most(self, quantity):
        if self.blocks:
            return -(-quantity // self.per) * self.price
        return -(-quantity * self.price // self.per)

    def affordable(self, xusd):
        if self.blocks:
            return xusd // self.price * self.per
        return xusd * self.per // self.price


@dataclass(frozen=True)
class Ask:
    feature: str
    estimate: int | None = None
    name: str | None = None

    @property
    def quantity(self):
        return 1 if self.estimate is None else self.estimate


@dataclass(frozen=True)
class Use:
    lease: str
    feature: str
    quantity: int
    meters: tuple[tuple[str, int], ...] = ()


@dataclass
class Lease:
    """`counters` are those of its quotas: the limit then, and whether it holds there."""

    feature: str
    expires: datetime
    held: int
    held_xusd: int
    counters: dict[tuple, tuple[int | None, bool]]
    mode: str
    free: bool
    state: str = "active"


@dataclass(frozen=True)
class Line:
    meter: str
    status: str
    quantity: int
    amount: int = 0
    cost: int = 0


def refused(status, code, **told):
    return {"o": "refused", "status": status, "code": code, **told}


def denied(status, code, reason, *hints):
    return refused(status, code, reason=reason, hints=list(hints)) | {"o": "denied"}


def room_left(quantity):
    return {"type": "quota.remaining", "max_quantity_minor": max(0, quantity)}


def money_short(amount):
    return {"type": "funding.xusd_shortfall", "shortfall_xusd": max(0, amount)}


REUSED = refused(409, "WRITE.INVALID_PAYLOAD", type="conflict", field="Idempotency-Key")
REUSED_BY_A_STORED_ANSWER = refused(409, "WRITE.INVALID_PAYLOAD", type="conflict")
TAKEN = refused(409, "WRITE.INVALID_PAYLOAD", type="conflict", field="lease")
UNKNOWN = refused(422, "RESOURCE.NOT_FOUND", type="invalid_lease", field="lease")
OTHER = refused(
    422, "WRITE.INVALID_PAYLOAD", type="feature_mismatch", field="feature_code"
)
DISABLED = refused(403, "AUTH.BILLING_USER_DISABLED")
