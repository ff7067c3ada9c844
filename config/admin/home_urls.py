"""The address without a path: there is nothing but the admin to look at."""

from django.urls import path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    # Without the slash the address is a common slip; nothing else is guessed.
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("docs", RedirectView.as_view(pattern_name="docs")),
]
