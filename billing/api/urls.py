"""`/mgt/v1` addresses of accounts, users, plans and assignments."""

from django.urls import path

from billing.api import (
    accounts,
    assignment_verbs,
    assignments,
    billing_state,
    contract_terms,
    contracts,
    details,
    entitlements,
    plans,
    tokens,
    users,
)

_ACCOUNT = "billing-accounts/<str:billing_account_id>"
_USER = "billing-users/<str:billing_user_id>"
_ASSIGNMENT = "billing-plan-assignments/<str:assignment_id>"

urlpatterns = [
    path("billing-accounts", accounts.Accounts.as_view()),
    path(_ACCOUNT, accounts.AccountDetail.as_view()),
    path(f"{_ACCOUNT}/seat-summary", accounts.AccountSeats.as_view()),
    path(f"{_ACCOUNT}/billing-details", details.AccountDetails.as_view()),
    path(f"{_ACCOUNT}/billing-state", billing_state.AccountBillingState.as_view()),
    path(f"{_ACCOUNT}/users", users.AccountUsers.as_view()),
    path(_USER, users.UserDetail.as_view()),
    path(f"{_USER}/disable", users.DisableUser.as_view()),
    path(f"{_USER}/restore", users.RestoreUser.as_view()),
    path("billing-plans", plans.Plans.as_view()),
    path("billing-plans/<str:plan_id>", plans.PlanDetail.as_view()),
    path(
        "billing-plans/<str:plan_id>/entitlements",
        entitlements.PlanEntitlements.as_view(),
    ),
    path(
        "billing-plans/<str:plan_id>/entitlements/<str:bpe_id>",
        entitlements.PlanEntitlementDetail.as_view(),
    ),
    path("billing-plan-assignments", assignments.Assignments.as_view()),
    path(_ASSIGNMENT, assignments.AssignmentDetail.as_view()),
    path(f"{_ASSIGNMENT}/extend", assignment_verbs.ExtendAssignment.as_view()),
    path(f"{_ASSIGNMENT}/end", assignment_verbs.EndAssignment.as_view()),
    path(f"{_ASSIGNMENT}/pause", assignment_verbs.PauseAssignment.as_view()),
    path(f"{_ASSIGNMENT}/resume", assignment_verbs.ResumeAssignment.as_view()),
    path(f"{_ASSIGNMENT}/cancel", assignment_verbs.CancelAssignment.as_view()),
    path(f"{_ASSIGNMENT}/upgrade", assignment_verbs.UpgradeAssignment.as_view()),
    path(f"{_ASSIGNMENT}/downgrade", assignment_verbs.DowngradeAssignment.as_view()),
    path("contracts", contracts.Contracts.as_view()),
    path("contracts/<str:contract_id>", contracts.ContractDetail.as_view()),
    path("contracts/<str:contract_id>/terms", contract_terms.ContractTerms.as_view()),
    path("token/issue", tokens.IssueToken.as_view()),
]
