"""Realms: a definition, saved by its verbs."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from config.admin.bases import (
    ACCESS,
    ActionVariant,
    CommandForm,
    DefinitionAdmin,
    Figure,
    Menu,
    add_figure,
    command,
    known_fields,
    metadata_form,
)
from config.kernel.audit import AuditContext
from config.kernel.metadata import RealmMetadata
from config.tenancy.models import Realm, RealmStatus
from config.tenancy.services.realms import (
    change_realm,
    create_realm,
    set_realm_status,
)

add_figure(
    Figure(
        label="Active realms",
        rows=lambda _at: Realm.objects.filter(status=RealmStatus.ACTIVE),
        url_name="admin:tenancy_realm_changelist",
        query=lambda _at: "status__exact=active",
        permission="tenancy.view_realm",
        icon="domain",
        order=80,
    )
)

STATUS_COLORS = {
    RealmStatus.ACTIVE.label: "success",
    RealmStatus.SUSPENDED.label: "warning",
    RealmStatus.DELETED.label: "danger",
}


class RealmForm(metadata_form(RealmMetadata)):  # type: ignore[misc]
    """A realm's name and defaults."""

    class Meta:
        model = Realm
        fields = ("realm_id", "name", "metadata")
        help_texts = {
            "realm_id": "What callers send as X-Realm-Id. It cannot be changed later.",
            "name": "For people.",
        }


@admin.register(Realm)
class RealmAdmin(DefinitionAdmin):
    """Realms."""

    menu = Menu(ACCESS, icon="domain", order=10)
    empty_message = "A realm is one tenant: add the first one to have anything else."
    form = RealmForm
    code_fields = ("realm_id",)
    list_display = ("realm_id", "name", "shown_status", "created_at")
    list_filter = ("status",)
    search_fields = ("realm_id", "name")
    ordering = ("realm_id",)
    readonly_fields = ("shown_status",)
    fieldsets = (
        (None, {"fields": ("realm_id", "name", "shown_status")}),
        (
            "Defaults for the whole realm",
            {
                "fields": known_fields(RealmMetadata),
                "description": "What plans and accounts of this realm use unless they "
                "say otherwise.",
            },
        ),
    )

    @display(description="Status", label=STATUS_COLORS, ordering="status")
    def shown_status(self, realm: Realm) -> str:
        """Return the status, colored."""
        return str(realm.get_status_display())

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the groups; a realm that does not exist yet has no status."""
        groups = super().get_fieldsets(request, obj)
        if obj is None:
            for _title, options in groups:
                options["fields"] = [
                    n for n in options["fields"] if n != "shown_status"
                ]
        return groups

    def save_definition(
        self,
        obj: Realm,
        form: Any,
        *,
        change: bool,
        at: datetime,
        by: AuditContext,
    ) -> Realm:
        """Create or change the realm by its verb."""
        if change:
            return change_realm(
                realm=obj, name=obj.name, metadata=obj.metadata, at=at, by=by
            )
        return create_realm(
            realm_id=obj.realm_id, name=obj.name, metadata=obj.metadata, at=at, by=by
        )

    @command(
        "Suspend",
        permission="tenancy.change_realm",
        icon="pause_circle",
        variant=ActionVariant.DANGER,
        description="Every request of the realm's callers is refused from now on. "
        "Nothing is lost; the realm can be activated again.",
        available=lambda realm: realm.status == RealmStatus.ACTIVE,
    )
    def suspend(
        self,
        _request: HttpRequest,
        realm: Realm,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Refuse the realm's callers."""
        set_realm_status(realm=realm, status=RealmStatus.SUSPENDED, at=at, by=by)
        return f"Realm {realm} is suspended: its callers are refused."

    @command(
        "Activate",
        permission="tenancy.change_realm",
        icon="play_circle",
        description="The realm's callers are served again.",
        available=lambda realm: realm.status != RealmStatus.ACTIVE,
    )
    def activate(
        self,
        _request: HttpRequest,
        realm: Realm,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Serve the realm's callers."""
        set_realm_status(realm=realm, status=RealmStatus.ACTIVE, at=at, by=by)
        return f"Realm {realm} is active: its callers are served."
