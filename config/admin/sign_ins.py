"""Sign-ins and failed ones, as the lock-out keeps them."""

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin

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

    What was typed is not shown: people type passwords into the wrong box.
    """

    menu = Menu(HISTORY, icon="lock_person", order=90, label="Failed sign-ins")
    searched = False
    empty_message = "No sign-in has failed lately."
    list_display = ("attempt_time", "username", "ip_address", "failures_since_start")
    search_fields = ("username", "ip_address")
    ordering = ("-attempt_time", "-pk")
    fields = (
        "attempt_time", "username", "ip_address", "user_agent", "failures_since_start",
    )  # fmt: skip
    export_fields = fields
