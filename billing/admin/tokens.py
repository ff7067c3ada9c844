"""Platform tokens that were issued: claims, never the tokens."""

from django.contrib import admin

from billing.models import PlatformToken
from config.admin.bases import ACCESS, Menu, RecordAdmin


@admin.register(PlatformToken)
class TokenAdmin(RecordAdmin):
    """Issued platform tokens."""

    menu = Menu(ACCESS, icon="badge", order=40)
    searched = False
    empty_message = "Services issue tokens for their users' apps by the API."
    list_display = ("user", "account", "service_key_id", "issued_at", "expires_at")
    list_filter = ("realm",)
    list_select_related = ("user", "account")
    search_fields = ("user__business_user_id", "account__billing_principal_id")
    ordering = ("-id",)
    fields = ("account", "user", "service_key_id", "claims", "issued_at", "expires_at")
