"""Addresses of the gate, below `/mgt/v1/`."""

from django.urls import path

from gating.api.authorize import AuthorizeView, CancelView, PreflightView
from gating.api.batches import AuthorizeBatchView, CommitBatchView
from gating.api.bundles import BundlesView, BundleView
from gating.api.commits import CommitsView
from gating.api.decisions import ExplainView
from gating.api.hold_verbs import HoldCommitView, HoldReleaseView
from gating.api.holds import HoldSummaryView, HoldsView, HoldView
from gating.api.ingest import IngestView
from gating.api.limits import FeatureLimitsView, MeterLimitsView
from gating.api.policies import BundlePoliciesView, PoliciesView, PolicyView
from gating.api.simulations import SimulationsView

urlpatterns = [
    path("gate/authorize", AuthorizeView.as_view()),
    path("gate/authorize/batch", AuthorizeBatchView.as_view()),
    path("gate/preflight", PreflightView.as_view()),
    path("gate/cancel", CancelView.as_view()),
    path("gate/commits", CommitsView.as_view()),
    path("gate/commits/batch", CommitBatchView.as_view()),
    path("gate/decisions/<str:decision_id>/explain", ExplainView.as_view()),
    path("gate/holds", HoldsView.as_view()),
    path("gate/holds/summary", HoldSummaryView.as_view()),
    path("gate/holds/<str:lease_id>", HoldView.as_view()),
    path("gate/holds/<str:lease_id>/release", HoldReleaseView.as_view()),
    path("gate/holds/<str:lease_id>/commit", HoldCommitView.as_view()),
    path("gate/simulations", SimulationsView.as_view()),
    path("gate/ingest", IngestView.as_view()),
    path("gate/limits", FeatureLimitsView.as_view()),
    path("gate/meters", MeterLimitsView.as_view()),
    path("gate/policy-bundles", BundlesView.as_view()),
    path("gate/policy-bundles/<str:bundle_id>", BundleView.as_view()),
    path("gate/policy-bundles/<str:bundle_id>/policies", BundlePoliciesView.as_view()),
    path("gate/policies", PoliciesView.as_view()),
    path("gate/policies/<str:policy_id>", PolicyView.as_view()),
]
