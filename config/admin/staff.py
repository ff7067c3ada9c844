"""Staff and their roles. Only superusers change who may do what."""

from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from config.admin.bases import (
    ACCESS,
    Menu,
    PlangateAdmin,
    RecordAdmin,
    command,
)
from config.admin.history import PER_PAGE, told_page
from config.admin.staff_access import FLAGS, AccessForm, access_entries, set_access
from config.kernel.audit import AuditContext
from config.tenancy.roles import ROLE_PERMISSIONS

UserPages: Any = UserAdmin
"""Taken as Any, as in config/admin/untyped.py."""

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class StaffAdmin(UserPages, PlangateAdmin):  # type: ignore[misc]
    """Members of staff. What they may do follows from their roles."""

    menu = Menu(ACCESS, icon="badge", order=30, label="Staff")
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = (
        "username",
        "email",
        "roles",
        "is_active",
        "is_superuser",
        "last_login",
    )
    list_filter = ("groups", "is_active", "is_superuser")
    search_fields = ("username", "first_name", "last_name", "email")
    ordering = ("username",)
    filter_horizontal = ()
    export_fields = (
        "username", "first_name", "last_name", "email", "is_active", "is_staff",
        "is_superuser", "last_login", "date_joined",
    )  # fmt: skip
    readonly_fields = (
        "roles", "is_active", "is_staff", "is_superuser", "last_login", "date_joined",
    )  # fmt: skip
    add_fieldsets = (
        (None, {"fields": ("username", "usable_password", "password1", "password2")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
    )
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        (
            "Access",
            {
                "fields": ("roles", "is_active", "is_staff", "is_superuser"),
                "description": "Roles say what somebody may do; a superuser may do "
                "everything, and is the only one who may change this page. “Set "
                "access” changes it, with a reason.",
            },
        ),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )

    @property
    def keeps_history(self) -> bool:
        """Return True: the framework's own log keeps what was changed of a member."""
        return True

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[User]:
        """Return the staff with their roles."""
        staff: models.QuerySet[User] = super().get_queryset(request)
        return staff.prefetch_related("groups")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the read-only fields: a user name is fixed, as history tells by it."""
        fixed = super().get_readonly_fields(request, obj)
        return fixed if obj is None else [*fixed, "username"]

    def save_model(self, request: Any, obj: User, form: Any, change: bool) -> None:
        """Write the member; a new one may sign in, and do nothing without a role."""
        obj.is_staff = obj.is_staff or not change
        super().save_model(request, obj, form, change)

    def history_view(
        self, request: Any, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        """Show who changed the member, when, and why. 404 for nobody."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        member = self.get_object(request, unquote(object_id))
        if member is None:
            raise Http404
        entries = Paginator(access_entries(member), PER_PAGE)
        return told_page(self, request, member, entries.get_page(request.GET.get("p")))

    @command(
        "Set access",
        permission="auth.change_user",
        form=AccessForm,
        icon="admin_panel_settings",
        description="What somebody may do from their next click on. Kept in the "
        "history of the member.",
    )
    def set_access(
        self,
        _request: HttpRequest,
        member: User,
        form: Any,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Set the roles of a member, and whether they come in."""
        answers = form.cleaned_data
        flags = {name: answers[name] for name in FLAGS}
        roles, seen = answers["roles"], answers["seen"]
        if set_access(member=member, roles=roles, seen=seen, by=by, **flags):
            return f"The access of {member} is set."
        return f"Nothing to change: {member} already may do exactly that."

    @admin.display(description="Roles")
    def roles(self, user: User) -> str:
        """Return the names of somebody's roles."""
        return ", ".join(sorted(group.name for group in user.groups.all())) or "None"

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the groups; nothing about passwords for those who only look."""
        groups = super().get_fieldsets(request, obj)
        if self.can_edit(request, obj):
            return groups
        return [
            (
                title,
                {
                    **options,
                    "fields": [n for n in options["fields"] if n != "password"],
                },
            )
            for title, options in groups
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return whether this is a superuser: nobody raises their own privileges."""
        return _is_superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether this is a superuser."""
        return _is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: the history names people by their user name; deactivate instead."""
        return False


@admin.register(Group)
class RoleAdmin(RecordAdmin):
    """Roles: fixed in code (config/tenancy/roles.py), so this only shows them."""

    menu = Menu(ACCESS, icon="verified_user", order=40, label="Roles")
    list_display = ("name", "members")
    search_fields = ("name",)
    ordering = ("name",)
    export_fields: ClassVar[tuple[str, ...]] = ("name",)
    fieldsets = ((None, {"fields": ("name", "members", "may")}),)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Group]:
        """Return the roles with the number of their members."""
        roles: models.QuerySet[Group] = super().get_queryset(request)
        return roles.annotate(member_count=models.Count("user"))

    @admin.display(description="Members", ordering="member_count")
    def members(self, role: Any) -> int:
        """Return how many have the role."""
        return int(role.member_count)

    @admin.display(description="May")
    def may(self, role: Group) -> SafeString:
        """Return the permissions of the role, as patterns."""
        patterns = ROLE_PERMISSIONS.get(role.name, ())
        return format_html_join(
            "", "<code>{}</code><br>", ((pattern,) for pattern in patterns)
        ) or SafeString("Nothing: the system does not know this role.")


def _is_superuser(request: Any) -> bool:
    return bool(request.user.is_active and request.user.is_superuser)
