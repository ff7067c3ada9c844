"""Sign-ins and failed ones, as the lock-out keeps them."""

from typing import Any

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import models
from django.http import HttpRequest

from config.admin.bases import HISTORY, Menu, RecordAdmin

for _model in (AccessAttempt, AccessFailureLog, AccessLog):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


@admin.register(AccessLog)
class SignInAdmin(RecordAdmin):
    """Successful sign-ins."""

    menu = Menu(HISTORY, icon="login", order=80, label="Sign-ins")
    searched = False
    empty_message = "Nobody has signed in yet."
    list_display = ("attempt_time", "username", "ip_address", "logout_time")
    search_fields = ("username", "ip_address")
    ordering = ("-attempt_time", "-pk")
    fields = ("attempt_time", "logout_time", "username", "ip_address", "user_agent")
    export_fields = fields


@admin.register(AccessAttempt)
class FailedSignInAdmin(RecordAdmin):
    """Failed sign-ins that count towards a lock-out.

    What was typed is not shown, and no user name that is not one of the staff's:
    people type passwords into the wrong box.
    """

    menu = Menu(HISTORY, icon="lock_person", order=90, label="Failed sign-ins")
    searched = False
    empty_message = "No sign-in has failed lately."
    list_display = ("attempt_time", "member", "ip_address", "failures_since_start")
    search_fields = ("known_name", "ip_address")
    search_help_text = "User name of a member of staff, or address"
    ordering = ("-attempt_time", "-pk")
    fields = (
        "attempt_time", "member", "ip_address", "user_agent", "failures_since_start",
    )  # fmt: skip
    export_fields = (
        "attempt_time", "ip_address", "user_agent", "failures_since_start",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[AccessAttempt]:
        """Return the attempts, each with the user name where it is a known one."""
        rows: models.QuerySet[AccessAttempt] = super().get_queryset(request)
        known = User.objects.filter(username=models.OuterRef("username"))
        return rows.annotate(known_name=models.Subquery(known.values("username")[:1]))

    @admin.display(description="User name", ordering="known_name")
    def member(self, attempt: Any) -> str:
        """Return the user name that was tried, where somebody has it."""
        return attempt.known_name or "Nobody's"
