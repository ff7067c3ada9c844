from grants.models.balances import CreditBalance
from grants.models.budgets import Budget, BudgetScope, BudgetStatus
from grants.models.entries import CreditEntry, EntryKind

__all__ = [
    "Budget",
    "BudgetScope",
    "BudgetStatus",
    "CreditBalance",
    "CreditEntry",
    "EntryKind",
]
