"""What grants serves under `/mgt/v1`."""

from django.urls import path

from grants.api.budgets import RuntimeBudget, RuntimeBudgetClose, RuntimeBudgets
from grants.api.credits import Credits
from grants.api.wallet import RuntimeWallet, UserWallet
from grants.api.wallet_verbs import (
    AdjustmentReversal,
    Adjustments,
    Consume,
    UserBalanceProof,
)

urlpatterns = [
    path("budgets", RuntimeBudgets.as_view()),
    path("budgets/<str:budget_id>", RuntimeBudget.as_view()),
    path("budgets/<str:budget_id>/close", RuntimeBudgetClose.as_view()),
    path("wallet/balance", RuntimeWallet.as_view()),
    path("wallet/consume", Consume.as_view()),
    path("wallet/adjustments", Adjustments.as_view()),
    path("billing-users/<str:billing_user_id>/wallet", UserWallet.as_view()),
    path(
        "billing-users/<str:billing_user_id>/adjustments/<str:posting_id>/reverse",
        AdjustmentReversal.as_view(),
    ),
    path(
        "billing-users/<str:billing_user_id>/balance-proof",
        UserBalanceProof.as_view(),
    ),
    path("billing-users/<str:billing_user_id>/credits", Credits.as_view()),
]
