"""`/budgets`: caps on what a user may spend on a piece of work."""

from dataclasses import replace

from billing.api.context import RuntimeView, TokenRuntimeView
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.pagination import items, page_limit, paginate
from config.tenancy.models import Scope
from grants.api.budget_forms import (
    BudgetIn,
    BudgetOut,
    BudgetPage,
    BudgetQuery,
    CloseIn,
    CloseOut,
)
from grants.api.wallet import READ_SCOPE
from grants.selectors.budgets import budget_of, budgets_of
from grants.services.budgets import close_budget, create_budget

WRITE_SCOPE = "billing:write"


def _list(call: Call, query: BudgetQuery) -> Answer:
    filters = query.given("limit", "cursor")
    page = paginate(
        budgets_of(user=call.user, at=call.at, **filters),
        limit=page_limit(query.limit),
        cursor=query.cursor,
        scope=call.list_scope,
    )
    return Answer(items(page, lambda budget: BudgetOut.of(budget, call.at)))


def _create(call: Call, body: BudgetIn) -> Answer:
    budget, created = create_budget(
        user=call.user,
        terms=body.terms(),
        reference=body.budget,
        at=call.at,
        by=call.by,
    )
    return Answer(BudgetOut.of(budget, call.at), status=201 if created else 200)


def _get(call: Call, budget_id: str) -> Answer:
    budget = budget_of(user=call.user, budget_id=budget_id)
    return Answer(BudgetOut.of(budget, call.at))


def _close(call: Call, budget_id: str, body: CloseIn) -> Answer:
    by = replace(call.by, reason=body.reason) if body.reason else call.by
    closed = close_budget(
        budget=budget_of(user=call.user, budget_id=budget_id),
        notes=body.metadata,
        at=call.at,
        by=by,
    )
    return Answer(
        CloseOut(
            budget_id=str(closed.pk),
            consumed_xusd=closed.consumed_xusd,
            remaining_xusd=closed.remaining_xusd,
        )
    )


class RuntimeBudgets(RuntimeView):
    """`/mgt/v1/budgets`, for a bound user."""

    @operation(
        "list_budgets", query=BudgetQuery, answer=BudgetPage, scope=Scope.RUNTIME
    )
    def get(self, call: Call, query: BudgetQuery) -> Answer:
        """List the bound user's budgets, newest first."""
        return _list(call, query)

    @operation(
        "create_budget",
        body=BudgetIn,
        answer=BudgetOut,
        statuses=(201, 200),
        scope=Scope.RUNTIME,
    )
    def post(self, call: Call, body: BudgetIn) -> Answer:
        """Give the bound user a budget; the same reference and terms are the same."""
        return _create(call, body)


class RuntimeBudget(RuntimeView):
    """`/mgt/v1/budgets/{budget_id}`, of a bound user."""

    @operation("get_budget", answer=BudgetOut, scope=Scope.RUNTIME)
    def get(self, call: Call, budget_id: str) -> Answer:
        """Read one of the bound user's budgets."""
        return _get(call, budget_id)


class RuntimeBudgetClose(RuntimeView):
    """`/mgt/v1/budgets/{budget_id}/close`, of a bound user."""

    @operation("close_budget", body=CloseIn, answer=CloseOut, scope=Scope.RUNTIME)
    def post(self, call: Call, budget_id: str, body: CloseIn) -> Answer:
        """Let a budget admit nothing any more; one that is closed stays so."""
        return _close(call, budget_id, body)


class TokenBudgets(TokenRuntimeView):
    """`/api/v1/budgets`, for the token's user."""

    @operation("list_budgets", query=BudgetQuery, answer=BudgetPage, scope=READ_SCOPE)
    def get(self, call: Call, query: BudgetQuery) -> Answer:
        """List one's own budgets, newest first."""
        return _list(call, query)

    @operation(
        "create_budget",
        body=BudgetIn,
        answer=BudgetOut,
        statuses=(201, 200),
        scope=WRITE_SCOPE,
    )
    def post(self, call: Call, body: BudgetIn) -> Answer:
        """Give oneself a budget; the same reference and terms are the same."""
        return _create(call, body)


class TokenBudget(TokenRuntimeView):
    """`/api/v1/budgets/{budget_id}`, of the token's user."""

    @operation("get_budget", answer=BudgetOut, scope=READ_SCOPE)
    def get(self, call: Call, budget_id: str) -> Answer:
        """Read one of one's own budgets."""
        return _get(call, budget_id)


class TokenBudgetClose(TokenRuntimeView):
    """`/api/v1/budgets/{budget_id}/close`, of the token's user."""

    @operation("close_budget", body=CloseIn, answer=CloseOut, scope=WRITE_SCOPE)
    def post(self, call: Call, budget_id: str, body: CloseIn) -> Answer:
        """Let one's own budget admit nothing any more; one that is closed stays so."""
        return _close(call, budget_id, body)
