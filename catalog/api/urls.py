"""Addresses of the catalog, below `/mgt/v1/`."""

from django.urls import path

from catalog.api.families import FeatureFamiliesView, FeatureFamilyView
from catalog.api.features import (
    FeaturesNeedingConfigView,
    FeaturesView,
    FeatureView,
)
from catalog.api.meters import MetersView, MeterView

urlpatterns = [
    path("feature-families", FeatureFamiliesView.as_view()),
    path("feature-families/<str:feature_family_id>", FeatureFamilyView.as_view()),
    path("features", FeaturesView.as_view()),
    path("features/needs-config", FeaturesNeedingConfigView.as_view()),
    path("features/<str:feature_id>", FeatureView.as_view()),
    path("meters", MetersView.as_view()),
    path("meters/<str:meter_id>", MeterView.as_view()),
]
