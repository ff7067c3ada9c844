"""Rights that somebody lacks, told so that they know whom to ask."""

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse

from config.admin.site import site
from config.tenancy.roles import roles_with

_ACTS = ("add", "change", "delete", "export")


class MissingRight(PermissionDenied):
    """Who asks lacks a permission (403); the page names it, and who has it."""

    def __init__(self, permission: str) -> None:
        super().__init__(permission)
        self.permission = permission


def who_has(permission: str) -> str:
    """Return the roles that have a permission, as a sentence names them."""
    *others, last = roles_with(permission) or ("superusers only",)
    return f"{', '.join(others)} or {last}" if others else last


def missing_buttons(screen: Any, request: HttpRequest, row: Any) -> Sequence[str]:
    """Return a sentence per button that a row, or the list (None), hides for a right.

    What the state of the row does not allow is not told: nobody has that button.
    """
    return [
        f"“{spec.label}” needs the right {spec.permission} "
        f"({who_has(spec.permission)})."
        for spec in screen.commands.values()
        if spec.on_list == (row is None)
        and not request.user.has_perm(spec.permission)
        and (row is None or spec.available is None or spec.available(row))
    ]


def forbidden(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Answer what may not be done (403): to staff, with the right that is missing."""
    member = getattr(request, "user", None)
    inside = request.path_info.startswith(reverse("admin:index"))
    if not inside or not getattr(member, "is_staff", False):
        context = {"trace_id": getattr(request, "trace_id", "")}
        return HttpResponse(render_to_string("403.html", context), status=403)
    page = {**site.each_context(request), "title": "You may not do this"}
    permission = getattr(exception, "permission", None) or _asked(request)
    if permission is not None:
        page |= {"permission": permission, "who_has": who_has(permission)}
    return render(request, "admin/plangate/forbidden.html", page, status=403)


def _asked(request: Any) -> str | None:
    """Return the first permission of a screen's own address that its visitor lacks."""
    if request.screen is None:
        return None
    opts, name = request.screen.opts, request.resolver_match.url_name
    asked = ["view", *(act for act in _ACTS if name.endswith(f"_{act}"))]
    permissions = (f"{opts.app_label}.{act}_{opts.model_name}" for act in asked)
    return next((each for each in permissions if not request.user.has_perm(each)), None)
