"""What a member of staff may do: changed by a button that asks why, and its record.

Staff are the framework's own users, so the record is the framework's own log, one
entry per change, in its transaction: who, why, under which ticket, before and after.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType

from config.admin.differences import differences
from config.admin.forms import CommandForm
from config.admin.history import Change, Entry
from config.admin.values import NOTHING, Value, plain
from config.admin.versions import ChangedMeanwhile
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict

_KEY = "access"
_LABELS = {
    "roles": "Roles",
    "is_active": "Active",
    "is_staff": "May sign in here",
    "is_superuser": "Superuser",
}
FLAGS = ("is_active", "is_staff", "is_superuser")


class AccessForm(CommandForm):
    """The roles of a member of staff, and whether they come in at all."""

    roles = forms.ModelMultipleChoiceField(
        Group.objects.order_by("name"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="What each role may do is listed under Roles.",
    )
    is_active = forms.BooleanField(
        label=_LABELS["is_active"],
        required=False,
        help_text="Off: signed out and kept out. Instead of deleting somebody.",
    )
    is_staff = forms.BooleanField(label=_LABELS["is_staff"], required=False)
    is_superuser = forms.BooleanField(
        label=_LABELS["is_superuser"],
        required=False,
        help_text="May do everything, this page included.",
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.initial["roles"] = list(self.subject.groups.all())
        for name in FLAGS:
            self.initial[name] = getattr(self.subject, name)
        self.initial["seen"] = json.dumps(_access(self.subject))


def set_access(
    *,
    member: User,
    roles: Sequence[Group],
    seen: str = "",
    by: AuditContext,
    **flags: bool,
) -> bool:
    """Give a member exactly these roles and flags; return whether that changed any.

    `flags` are is_active, is_staff and is_superuser; `seen` is what the form carried.
    Records who, why, before and after. Refuses (`ChangedMeanwhile`) access that is no
    longer as it was seen, and (`Conflict`) to leave nobody a superuser.
    """
    # One at a time over all superusers, so that two cannot remove each other.
    roots = User.objects.select_for_update().filter(is_superuser=True).order_by("pk")
    others = [root for root in roots if root.pk != member.pk and root.is_active]
    member = User.objects.select_for_update().get(pk=member.pk)
    before = _access(member)
    if seen not in {"", json.dumps(before)}:
        raise ChangedMeanwhile(
            f"Somebody else changed the access of {member} after you opened the page. "
            "Nothing of yours is saved. Open the page again to see it as it is now."
        )
    if not others and before["is_superuser"] and before["is_active"]:
        _refuse_last(**flags)
    for name, value in flags.items():
        setattr(member, name, value)
    member.save(update_fields=list(flags))
    member.groups.set(roles)
    after = _access(member)
    if before == after:
        return False
    _record(member, before, after, by)
    return True


def access_entries(member: User) -> list[Entry]:
    """Return what was recorded of a member, newest first: also the framework's own."""
    logged = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(User), object_id=str(member.pk)
    )
    rows = logged.select_related("user").order_by("-action_time", "-pk")
    return [_entry(row) for row in rows]


def _refuse_last(**flags: bool) -> None:
    if not (flags["is_superuser"] and flags["is_active"] and flags["is_staff"]):
        raise Conflict(
            "This is the last superuser who can sign in: make somebody else one first.",
            field="is_superuser",
        )


def _access(member: User) -> dict[str, Any]:
    names = member.groups.order_by("name").values_list("name", flat=True)
    flags = {name: getattr(member, name) for name in FLAGS}
    return {"roles": ", ".join(names), **flags}


def _record(
    member: User, before: dict[str, Any], after: dict[str, Any], by: AuditContext
) -> None:
    told = {
        "before": before,
        "after": after,
        "operator": by.operator,
        "reason": by.reason,
        "ticket_id": by.ticket_id,
        "trace_id": by.trace_id,
        "effective_at": by.effective_at.isoformat(),
    }
    LogEntry.objects.create(
        user=User.objects.get_by_natural_key(by.actor.identifier),
        content_type=ContentType.objects.get_for_model(User),
        object_id=str(member.pk),
        object_repr=str(member)[:200],
        action_flag=CHANGE,
        change_message=json.dumps([{_KEY: told}]),
    )


def _entry(row: LogEntry) -> Entry:
    told = _told(row)
    who = row.user.get_username()
    return Entry(
        title="Access set" if told else str(row.get_action_flag_display()),
        color="warning" if told else "info",
        recorded_at=row.action_time,
        effective_at=datetime.fromisoformat(told["effective_at"])
        if told
        else row.action_time,
        operator=told.get("operator", who),
        actor=f"user {who}",
        reason=told.get("reason") or row.get_change_message(),
        ticket_id=told.get("ticket_id", NOTHING),
        trace_id=told.get("trace_id", NOTHING),
        changes=_changes(told),
    )


def _told(row: LogEntry) -> dict[str, Any]:
    """Return what `_record` wrote, nothing where the framework wrote the entry."""
    try:
        [message] = json.loads(row.change_message)
    except (TypeError, ValueError):
        return {}
    found = message.get(_KEY) if isinstance(message, dict) else None
    return found if isinstance(found, dict) else {}


def _changes(told: dict[str, Any]) -> list[Change]:
    return [
        Change(
            label=_LABELS[str(found.path[0])],
            path="",
            before=_value(found.before),
            after=_value(found.after),
        )
        for found in differences(told.get("before", {}), told.get("after", {}))
    ]


def _value(value: Any) -> Value:
    return Value(plain(value)) if value != "" else Value("None", is_nothing=True)
