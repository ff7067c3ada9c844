"""`/api/v1` addresses: an end user's own state."""

from django.urls import path

from billing.api import billing_state

urlpatterns = [
    path("billing-state", billing_state.OwnBillingState.as_view()),
]
