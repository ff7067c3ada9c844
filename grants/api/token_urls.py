"""What grants serves under `/api/v1`."""

from django.urls import path

from grants.api.budgets import TokenBudget, TokenBudgetClose, TokenBudgets
from grants.api.wallet import TokenWallet

urlpatterns = [
    path("budgets", TokenBudgets.as_view()),
    path("budgets/<str:budget_id>", TokenBudget.as_view()),
    path("budgets/<str:budget_id>/close", TokenBudgetClose.as_view()),
    path("wallet/balance", TokenWallet.as_view()),
]
