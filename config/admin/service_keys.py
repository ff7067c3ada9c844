"""Service keys: records with buttons; a secret is on one page, once."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.decorators import display

from config.admin.bases import (
    ACCESS,
    ActionVariant,
    CommandForm,
    Figure,
    LinesField,
    Menu,
    RecordAdmin,
    UtcDateTimeField,
    add_figure,
    command,
)
from config.admin.dashboard import SOON
from config.kernel.audit import AuditContext
from config.kernel.clock import now
from config.tenancy.models import Realm, Scope, ServiceKey, ServiceKeyStatus
from config.tenancy.services.service_keys import (
    create_service_key,
    rotate_service_key,
    secret_text,
    set_service_key_status,
)

add_figure(
    Figure(
        label="Keys that expire within 14 days",
        rows=lambda at: ServiceKey.objects.filter(
            status=ServiceKeyStatus.ACTIVE, expires_at__gt=at, expires_at__lte=at + SOON
        ),
        url_name="admin:tenancy_servicekey_changelist",
        permission="tenancy.view_servicekey",
        icon="vpn_key_alert",
        order=90,
    )
)

_COLORS = {"Active": "success", "Disabled": "danger", "Expired": "warning"}


class CreateKeyForm(CommandForm):
    """What a new key may do, and where."""

    realm = forms.ModelChoiceField(
        Realm.objects.order_by("realm_id"), help_text="The one realm the key acts in."
    )
    name = forms.CharField(
        required=False, max_length=255, help_text="Which backend will hold it."
    )
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        initial=Scope.values,
        widget=forms.CheckboxSelectMultiple,
        help_text="What the key may do.",
    )
    allowed_accounts = LinesField(
        required=False,
        label="Only these accounts",
        help_text="Billing account ids, one per line. Empty means every account.",
    )
    expires_at = UtcDateTimeField(
        required=False,
        label="Expires at",
        help_text="Date and time in UTC. Empty means never.",
    )


def _is_active(key: ServiceKey) -> bool:
    return bool(key.status == ServiceKeyStatus.ACTIVE)


@admin.register(ServiceKey)
class ServiceKeyAdmin(RecordAdmin):
    """Service keys."""

    menu = Menu(ACCESS, icon="vpn_key", order=20)
    empty_message = (
        "No backend can call the API yet. Create a key with the button above, and give "
        "its secret to the backend."
    )
    list_display = (
        "key_id", "name", "shown_status", "allowed_realms", "scopes",
        "expires_at", "last_used_at",
    )  # fmt: skip
    list_filter = ("status",)
    search_fields = ("key_id", "name", "allowed_realms")
    ordering = ("-created_at", "key_id")
    fieldsets = (
        (None, {"fields": ("key_id", "name", "shown_status", "env_tag")}),
        (
            "What it may do",
            {"fields": ("allowed_realms", "allowed_accounts", "scopes")},
        ),
        ("Life", {"fields": ("created_at", "expires_at", "last_used_at")}),
        (
            "Secret",
            {
                "fields": ("kdf_alg", "kdf_version"),
                "description": "The secret is derived when it is needed and stored "
                "nowhere. Rotate the key to get a new one.",
            },
        ),
    )

    @display(description="Status", label=_COLORS)
    def shown_status(self, key: ServiceKey) -> str:
        """Return whether the key's signatures are accepted now."""
        if _is_active(key) and key.is_expired(at=now()):
            return "Expired"
        return str(key.get_status_display())

    @command(
        "Create a key",
        form=CreateKeyForm,
        permission="tenancy.add_servicekey",
        icon="add",
        variant=ActionVariant.PRIMARY,
        description="The next page shows the secret, once.",
        on_list=True,
    )
    def create(
        self,
        request: HttpRequest,
        _subject: None,
        form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> HttpResponse:
        """Create a key and show its secret."""
        answers = form.cleaned_data
        key = create_service_key(
            realm=answers["realm"],
            name=answers["name"],
            scopes=answers["scopes"],
            allowed_accounts=answers["allowed_accounts"],
            expires_at=answers["expires_at"],
            at=at,
            by=by,
        )
        return self._shown_once(request, key, "was created")

    @command(
        "Rotate",
        permission="tenancy.change_servicekey",
        icon="autorenew",
        variant=ActionVariant.DANGER,
        description="The key gets a new secret, shown once on the next page. The old "
        "one stops working at once: the backend is refused until it has the new one.",
    )
    def rotate(
        self,
        request: HttpRequest,
        key: ServiceKey,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> HttpResponse:
        """Give the key a new secret and show it."""
        rotated = rotate_service_key(key=key, at=at, by=by)
        return self._shown_once(request, rotated, "has a new secret")

    @command(
        "Disable",
        permission="tenancy.change_servicekey",
        icon="block",
        variant=ActionVariant.DANGER,
        description="Requests signed with this key are refused at once.",
        available=_is_active,
    )
    def disable(
        self,
        _request: HttpRequest,
        key: ServiceKey,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Refuse the key's signatures."""
        set_service_key_status(key=key, status=ServiceKeyStatus.DISABLED, at=at, by=by)
        return f"Key {key} is disabled: its requests are refused."

    @command(
        "Enable",
        permission="tenancy.change_servicekey",
        icon="check_circle",
        description="Requests signed with this key are accepted again.",
        available=lambda key: not _is_active(key),
    )
    def enable(
        self,
        _request: HttpRequest,
        key: ServiceKey,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Accept the key's signatures."""
        set_service_key_status(key=key, status=ServiceKeyStatus.ACTIVE, at=at, by=by)
        return f"Key {key} is enabled."

    def _shown_once(
        self, request: Any, key: ServiceKey, happened: str
    ) -> TemplateResponse:
        # Not a redirect and not a message: both would keep the secret somewhere.
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            "admin/plangate/secret.html",
            {
                **self.admin_site.each_context(request),
                "title": "Secret",
                "opts": self.opts,
                "original": key,
                "happened": happened,
                "secret": secret_text(key),
                "back": self.address_of(key),
            },
            headers={"Cache-Control": "no-store"},
        )
