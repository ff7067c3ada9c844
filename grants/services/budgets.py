"""Verbs on budgets: what caps a user's spending on a piece of work."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from billing.models import BillingUser
from catalog.models import Feature
from catalog.services.rows import locked, locked_or_inserted
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, Invalid, NotFound
from config.kernel.ids import new_id
from config.kernel.metadata.document import check_document
from config.kernel.money import parse_uint
from config.kernel.windows import format_instant
from config.tenancy.history import auditing
from config.tenancy.services.events import record_event
from grants.models import Budget, BudgetScope

_SETTLE = "SELECT grants_settle_budget(%s, %s, 0, %s)"


class BudgetTaken(Conflict):
    """The reference already stands for a budget on other terms (409)."""


@dataclass(frozen=True, slots=True)
class BudgetTerms:
    """What a budget is made of; it is never changed afterwards.

    `limit_xusd` is in 10^-6 USD, None is unlimited; a bound that is None is open.
    `feature_codes` are those of the scope, None where it is every feature.
    """

    limit_xusd: int | None = None
    name: str = ""
    scope_kind: str = BudgetScope.GLOBAL
    feature_codes: Sequence[str] | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def match(self, budget: Budget) -> bool:
        """Return whether a budget was made on these terms."""
        return all(
            _text(value) == _text(getattr(budget, name))
            for name, value in self.columns.items()
        )

    @property
    def columns(self) -> dict[str, Any]:
        """Return the terms as a budget holds them."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        codes = self.feature_codes
        held["feature_codes"] = None if codes is None else sorted(set(codes))
        return held


@transaction.atomic
def create_budget(
    *,
    user: BillingUser,
    terms: BudgetTerms,
    reference: str | None = None,
    at: datetime,
    by: AuditContext,
) -> tuple[Budget, bool]:
    """Give a user a budget; return it, and whether it is new.

    Without a `reference` its own id is one. A reference with the same terms is the
    same budget, however it stands by now; with other terms it is refused
    (`BudgetTaken`), as are (`Invalid`) a limit below 0, a window that ends before it
    starts and features that do not fit the scope, and (`NotFound`) an unknown feature.
    """
    _check(terms)
    key = new_id()
    new = Budget(
        pk=key,
        realm_id=user.realm_id,
        account_id=user.account_id,
        user=user,
        reference=reference or str(key),
        **terms.columns,
    )
    same = Budget.objects.in_realm(user.realm_id).filter(
        user=user, reference=new.reference
    )
    with auditing(by, at=at):
        budget, created = locked_or_inserted(same, new)
    if not created:
        return _same(budget, terms), False
    _check_features(user, terms)
    _record(budget, "budget.created", {}, at=at, by=by)
    return budget, True


@transaction.atomic
def close_budget(
    *,
    budget: Budget,
    notes: Mapping[str, Any] | None = None,
    at: datetime,
    by: AuditContext,
) -> Budget:
    """Let a budget admit nothing any more; one that is closed stays as it is.

    What leases hold on it stays theirs, and is consumed by their commits. `notes` are
    kept with the event `budget.closed`. Refuses (`Invalid`) what is no such document.
    """
    told = check_document(dict(notes or {}), "metadata")
    budget = locked(Budget.objects.all(), budget)
    if budget.closed_at is not None:
        return budget
    budget.closed_at = budget.updated_at = at
    with auditing(by, at=at):
        budget.save(update_fields=["closed_at", "updated_at"])
    facts = {"operator": by.operator, "reason": by.reason, "notes": told}
    _record(budget, "budget.closed", facts, at=at, by=by)
    return budget


def release_budget(budget_id: UUID, *, amount_xusd: int, at: datetime) -> None:
    """Give back what a lease held on a budget, under the account's lock."""
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, [budget_id, amount_xusd, at])


def _text(value: Any) -> str:
    """Return a term as text: to Python, but not to JSON, true and 1 are equal."""
    return json.dumps(_stored(value), default=str, sort_keys=True)


def _stored(value: Any) -> Any:
    """Return a document with its numbers as the database gives them back."""
    if isinstance(value, Mapping):
        return {key: _stored(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_stored(each) for each in value]
    whole = isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def _check(terms: BudgetTerms) -> None:
    check_document(terms.metadata, "metadata")
    if terms.limit_xusd is not None:
        parse_uint(terms.limit_xusd, "limit_xusd")
    if (terms.feature_codes is None) != (terms.scope_kind == BudgetScope.GLOBAL):
        raise Invalid(
            "A budget names features where its scope is not global, and only there.",
            field="scope_payload",
        )
    start, end = terms.window_start, terms.window_end
    if start is not None and end is not None and end <= start:
        raise Invalid(
            f"window_end {format_instant(end)} must be later than window_start "
            f"{format_instant(start)}.",
            field="window_end",
        )


def _check_features(user: BillingUser, terms: BudgetTerms) -> None:
    codes = terms.feature_codes
    if codes is None:
        return
    known = Feature.objects.in_realm(user.realm_id).filter(feature_code__in=codes)
    missing = set(codes) - set(known.values_list("feature_code", flat=True))
    if missing:
        raise NotFound(
            f"This realm has no feature {', '.join(sorted(missing))}.",
            field="scope_payload",
        )


def _same(earlier: Budget, terms: BudgetTerms) -> Budget:
    if not terms.match(earlier):
        raise BudgetTaken(
            f"This user already has a budget {earlier.reference}, on other terms.",
            field="budget",
        )
    return earlier


def _record(
    budget: Budget,
    kind: str,
    payload: dict[str, Any],
    *,
    at: datetime,
    by: AuditContext,
) -> None:
    facts = {"billing_user_id": str(budget.user_id), "budget": budget.reference}
    record_event(
        realm=budget.realm,
        kind=kind,
        subject=budget,
        payload={**facts, **payload},
        at=at,
        by=by,
    )
