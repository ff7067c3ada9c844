"""What grants serves under `/mgt/v1`."""

from django.urls import path

from grants.api.assignments import GrantAssignmentDetail, GrantAssignments
from grants.api.budgets import RuntimeBudget, RuntimeBudgetClose, RuntimeBudgets
from grants.api.campaigns import CampaignDetail, Campaigns
from grants.api.credits import Credits
from grants.api.lots import LotConsumption, LotDetail, Lots
from grants.api.plan_grants import PlanGrantsAppliedNow, PlanGrantsPreviewed
from grants.api.programs import ProgramDetail, Programs
from grants.api.wallet import RuntimeWallet, UserWallet
from grants.api.wallet_verbs import (
    AdjustmentReversal,
    Adjustments,
    Consume,
    UserBalanceProof,
)

urlpatterns = [
    path("billing-plans/<str:plan_id>/grants/preview", PlanGrantsPreviewed.as_view()),
    path("billing-plans/<str:plan_id>/grants/apply", PlanGrantsAppliedNow.as_view()),
    path("budgets", RuntimeBudgets.as_view()),
    path("budgets/<str:budget_id>", RuntimeBudget.as_view()),
    path("budgets/<str:budget_id>/close", RuntimeBudgetClose.as_view()),
    path("grant-programs", Programs.as_view()),
    path("grant-programs/<str:program_id>", ProgramDetail.as_view()),
    path("grant-assignments", GrantAssignments.as_view()),
    path(
        "grant-assignments/<str:grant_assignment_id>", GrantAssignmentDetail.as_view()
    ),
    path("grants", Lots.as_view()),
    path("grants/<str:grant_id>", LotDetail.as_view()),
    path("grants/<str:grant_id>/consumption", LotConsumption.as_view()),
    path("grant-campaigns", Campaigns.as_view()),
    path("grant-campaigns/<str:campaign_id>", CampaignDetail.as_view()),
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
