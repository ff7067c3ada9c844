"""Budgets as the wire shows and takes them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, cast

from config.api.wire import (
    Code,
    Instant,
    JsonObject,
    ListQuery,
    Name,
    Reason,
    Reference,
    SignedInt,
    UInt,
    WireModel,
    WriteModel,
)
from config.kernel.codes import normalize_code
from config.kernel.errors import Invalid
from grants.models import Budget
from grants.services.budgets import BudgetTerms

MAX_FEATURES = 100

Status = Literal["active", "closed", "expired", "canceled"]
ScopeKind = Literal["global", "feature", "feature_set"]


class BudgetOut(WireModel):
    """A budget; `remaining_xusd` is the limit less what was consumed."""

    budget_id: str
    budget: str
    billing_account_id: str
    billing_user_id: str
    name: str | None
    status: Literal["active", "closed", "expired"]
    scope_kind: ScopeKind
    scope_payload: JsonObject
    limit_xusd: UInt | None
    consumed_xusd: UInt
    reserved_xusd: UInt
    remaining_xusd: SignedInt | None
    window_start: Instant | None
    window_end: Instant | None
    closed_at: Instant | None
    metadata: JsonObject
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, budget: Budget, at: datetime) -> "BudgetOut":
        """Return the wire form of a budget as it stands at `at`."""
        return cls(
            budget_id=str(budget.pk),
            budget=budget.reference,
            billing_account_id=str(budget.account_id),
            billing_user_id=str(budget.user_id),
            name=budget.name or None,
            status=cast("Any", budget.status(at=at).value),
            scope_kind=cast("ScopeKind", budget.scope_kind),
            scope_payload=_payload(budget),
            limit_xusd=budget.limit_xusd,
            consumed_xusd=budget.consumed_xusd,
            reserved_xusd=budget.reserved_xusd,
            remaining_xusd=budget.remaining_xusd,
            window_start=budget.window_start,
            window_end=budget.window_end,
            closed_at=budget.closed_at,
            metadata=budget.metadata,
            created_at=budget.created_at,
            updated_at=budget.updated_at,
        )


class BudgetPage(WireModel):
    """A page of budgets, the newest first."""

    items: list[BudgetOut]
    next_cursor: str | None = None


class BudgetIn(WriteModel):
    """A budget to make.

    `budget` is the caller's own name for it; without one, it goes by its id. Without a
    `limit_xusd` it is unlimited. A budget of the scope `feature` names it in
    `scope_payload.feature_code`, one of the scope `feature_set` lists them in
    `scope_payload.feature_set`.
    """

    budget: Reference | None = None
    name: Name | None = None
    scope_kind: ScopeKind = "global"
    scope_payload: JsonObject | None = None
    limit_xusd: UInt | None = None
    window_start: Instant | None = None
    window_end: Instant | None = None
    metadata: JsonObject | None = None

    def terms(self) -> BudgetTerms:
        """Return what the budget is made of. Refuses (422) a scope without features."""
        return BudgetTerms(
            limit_xusd=self.limit_xusd,
            name=self.name or "",
            scope_kind=self.scope_kind,
            feature_codes=_codes(self.scope_kind, self.scope_payload or {}),
            window_start=self.window_start,
            window_end=self.window_end,
            metadata=self.metadata or {},
        )


class BudgetQuery(ListQuery):
    """Filters of a budget list: `name` is looked for in names, `feature` is a code."""

    status: list[Status] | None = None
    scope_kind: ScopeKind | None = None
    feature: Code | None = None
    name: Name | None = None
    window_start_ge: Instant | None = None
    window_start_le: Instant | None = None
    window_end_ge: Instant | None = None
    window_end_le: Instant | None = None
    created_at_ge: Instant | None = None
    created_at_le: Instant | None = None


class CloseIn(WriteModel):
    """Why a budget is closed, and notes to keep with that."""

    reason: Reason | None = None
    metadata: JsonObject | None = None


class CloseOut(WireModel):
    """What a closed budget has come to."""

    budget_id: str
    consumed_xusd: UInt
    remaining_xusd: SignedInt | None


def _payload(budget: Budget) -> dict[str, Any]:
    codes = budget.feature_codes or []
    if budget.scope_kind == "feature":
        return {"feature_code": codes[0]}
    return {"feature_set": codes} if codes else {}


_KEYS = {"feature": "feature_code", "feature_set": "feature_set"}


def _codes(scope_kind: str, payload: dict[str, Any]) -> Sequence[str] | None:
    """Return the codes that a scope names, None where it is global."""
    key = _KEYS.get(scope_kind)
    for name in payload:
        if name != key:
            raise Invalid(
                f"A budget of the scope {scope_kind} has no {name}.",
                field=f"scope_payload.{name}",
            )
    if key is None:
        return None
    field, named = f"scope_payload.{key}", payload.get(key)
    if key == "feature_code":
        return [normalize_code(named, field)]
    if not isinstance(named, list) or not 1 <= len(named) <= MAX_FEATURES:
        raise Invalid(f"Must list 1 to {MAX_FEATURES} feature codes.", field=field)
    return [normalize_code(code, f"{field}.{n}") for n, code in enumerate(named)]
