"""Requests that the gate admits in one stride, where everything fits.

Of a rule set without seats, shared counters or anything that denies by itself, what an
admission needs and takes of each policy follows from the rules alone. `plain_rules`
resolves it once per rule set, `Plain.windows` once per window; the database then only
compares numbers (`gating/sql/admit.sql`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from config.kernel.money import INT64_MAX
from config.kernel.windows import EPOCH
from gating.rules import Rules

SECOND = timedelta(seconds=1)
LONGEST_SECONDS = 100 * 366 * 86_400
"""A window that is longer may end after year 9999."""


def literal(values: Iterable[object]) -> str:
    """Return an array as PostgreSQL reads it, of values that need no quotes."""
    return "{" + ",".join("NULL" if v is None else str(v) for v in values) + "}"


def _truths(values: Iterable[bool]) -> str:
    return literal("t" if value else "f" for value in values)


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of policies that hold now, as arrays; one element per policy.

    `numbers` says which: counted from 1970. `tails` ends what a counter's id is a hash
    of, after whose it is.
    """

    numbers: tuple[int, ...]
    tails: str
    starts: str
    ends: str


@dataclass(slots=True)
class Plain:
    """A plain rule set: one element per policy, quotas first, as the rules have them.

    The texts are arrays in PostgreSQL's notation; limits of `limits` are 64 bits where
    there is none. `own` says of which policies each user has a counter.
    """

    rules: Rules
    seconds: tuple[int, ...]
    own: str
    limits: str
    uses: str
    reserves: tuple[bool, ...]
    reserves_text: str
    quota_limits: str
    quota_held: str
    pays: bool
    _windows: Windows | None = None

    def windows(self, at: datetime) -> Windows:
        """Return the windows of the policies at `at` (aware UTC)."""
        second = (at - EPOCH) // SECOND
        numbers = tuple([second // length for length in self.seconds])
        known = self._windows
        if known is not None and known.numbers == numbers:
            return known
        policies, feature = self.rules.policies, self.rules.feature.feature_code
        tails = [
            f"|{feature}|{policy.kind}|{policy.window_seconds}|{number}|"
            f"{policy.counter_key}"
            for policy, number in zip(policies, numbers, strict=True)
        ]
        pairs = zip(numbers, self.seconds, strict=True)
        edges = [(_instant(n * s), _instant((n + 1) * s)) for n, s in pairs]
        found = Windows(
            numbers=numbers,
            tails=literal(map(_quoted, tails)),
            starts=literal(start for start, _ in edges),
            ends=literal(end for _, end in edges),
        )
        # Other threads may have put theirs there meanwhile.
        self._windows = found
        return found

    def needs(self, held: int, count: int) -> str:
        """Return what must be free of each policy for items that hold `held` in all."""
        return literal(
            held if reserves else (1 if policy.kind == "quota" else count)
            for policy, reserves in zip(self.rules.policies, self.reserves, strict=True)
        )

    def wallet_xusd(self, held: int) -> int:
        """Return what an item that holds a quantity reserves on the balance."""
        price = self.rules.price
        if not self.pays or price is None or not any(self.reserves):
            return 0
        return price.at_most(held)

    def seen(
        self, told: Sequence[int], before: int, held_before: int
    ) -> tuple[list[int], list[int]]:
        """Return used and reserved of each policy, as an item saw them.

        `told` is what the first item saw; `before` items that hold `held_before` stand
        before this one.
        """
        count = len(self.reserves)
        used, reserved = told[:count], told[count:]
        if before == 0:
            return list(used), list(reserved)
        return (
            [
                number + (0 if policy.kind == "quota" else before)
                for policy, number in zip(self.rules.policies, used, strict=True)
            ],
            [
                number + (held_before if reserves else 0)
                for reserves, number in zip(self.reserves, reserved, strict=True)
            ],
        )


def plain_rules(rules: Rules) -> Plain | None:
    """Return rules as their plain form; None where they are not plain."""
    policies = rules.policies
    counters = {(p.kind, p.scope, p.window_seconds, p.counter_key) for p in policies}
    is_plain = (
        rules.feature.active
        and rules.entitlement in {"allowed", "not_required"}
        and not rules.bundle_missing
        and bool(policies)
        and policies[0].kind == "quota"
        and len(counters) == len(policies)
        and all(
            policy.kind != "seats"
            # The greatest number stands for none in `limits`.
            and policy.limit != INT64_MAX
            and policy.window_seconds <= LONGEST_SECONDS
            for policy in policies
        )
    )
    if not is_plain:
        return None
    reserves = tuple(p.kind == "quota" and p.enforcement == "reserve" for p in policies)
    quotas = [policy for policy in policies if policy.kind == "quota"]
    return Plain(
        rules=rules,
        seconds=tuple(policy.window_seconds for policy in policies),
        own=_truths(policy.scope == "user" for policy in policies),
        limits=literal(INT64_MAX if p.limit is None else p.limit for p in policies),
        uses=literal(0 if p.kind == "quota" else 1 for p in policies),
        reserves=reserves,
        reserves_text=_truths(reserves),
        quota_limits=literal(policy.limit for policy in quotas),
        quota_held=_truths(reserves[: len(quotas)]),
        pays=rules.billing_mode == "prepaid" and not rules.zero_cost,
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _instant(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime('"%Y-%m-%d %H:%M:%S+00"')
