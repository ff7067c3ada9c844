"""Releasing many holds: looked at first, then one by one, each with its result.

Every hold is released in a transaction of its own, so that no account waits for the
others. A run that is cut off has released what it has released; the same choice made
again does the rest.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import action
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from unfold.enums import ActionVariant

from catalog.admin.words import linked, money, units
from config.admin.bases import CommandForm, Table
from config.admin.commands import ONCE, Command, Pressed
from config.admin.once import claim_once, note_sent
from config.admin.refusals import as_refusal, attempt, check_now
from config.kernel.audit import AuditContext
from config.kernel.errors import DomainError
from config.kernel.ids import parse_uuid
from gating.lengths import age_text
from gating.models import Lease
from gating.selectors.orphans import LIVE
from gating.services.holds import release_hold

NAME, LABEL = "release_selected", "Release selected holds"
PERMISSION = "gating.cancel_lease"
MOST = 100
"""Holds of one run: it ends before anybody waits, and what is left is chosen again."""

_HEADERS = ("Hold", "Account", "Quantity", "Money", "Held for", "Result")


class BulkReleaseForm(CommandForm):
    """Why the chosen holds are released; which ones, it keeps from page to page."""

    action = forms.CharField(widget=forms.HiddenInput, initial=NAME)

    def __init__(self, *args: Any, chosen: Sequence[str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields[ACTION_CHECKBOX_NAME] = forms.MultipleChoiceField(
            widget=forms.MultipleHiddenInput,
            choices=[(key, key) for key in chosen],
            initial=list(chosen),
        )


class BulkRelease(Pressed):
    """One press of the list's action, from the choice to the results."""

    def __init__(self, admin: Any, request: Any, queryset: QuerySet[Lease]) -> None:
        self.is_sent = "reason" in request.POST
        self.leases, left = _chosen(admin, request, queryset, sent=self.is_sent)
        super().__init__(admin, request, _spec(len(self.leases), left), _free, None)

    @property
    def previews(self) -> bool:
        """Return that what would become of each hold is shown first."""
        return True

    def respond(self) -> HttpResponseBase:
        """Return the form, what would happen, or what happened."""
        if not self.request.user.has_perm(PERMISSION):
            raise PermissionDenied
        if not self.leases:
            messages.warning(
                self.request, "None of the chosen holds holds anything any more."
            )
            return HttpResponseRedirect(self._home())
        form = BulkReleaseForm(
            *((self.request.POST,) if self.is_sent else ()),
            chosen=[str(lease.pk) for lease in self.leases],
            at=self.at,
        )
        if not self.is_sent or not form.is_valid():
            return self._page(form, None)
        by = form.audit(self.request)
        if not self._is_confirmed():
            return self._page(form, [self._table(by, "Chosen holds", keep=False)])
        mark = self.request.POST.get(ONCE)
        attempt(form, lambda: claim_once(self.request, mark, at=self.at))
        if form.errors:
            return self._page(form, None)
        note_sent(self.request, mark)
        return self._results(self._table(by, "One by one", keep=True))

    def _table(self, by: AuditContext, title: str, *, keep: bool) -> Table:
        """Release each hold, undone unless `keep`; return what became of each."""
        rows = []
        for lease in self.leases:
            result = _free(lease, at=self.at, by=by, keep=keep)
            rows.append(
                (
                    linked(lease),
                    lease.account.billing_principal_id,
                    units(lease.reserved_minor, lease.counted_unit),
                    money(lease.reserved_xusd),
                    age_text(self.at - lease.authorized_at),
                    result,
                )
            )
        return Table(title, _HEADERS, rows)

    def _results(self, table: Table) -> TemplateResponse:
        self.request.current_app = self.admin.admin_site.name
        return TemplateResponse(
            self.request,
            "admin/plangate/results.html",
            {
                **self.admin.admin_site.each_context(self.request),
                "title": self.spec.label,
                "opts": self.admin.opts,
                "table": table,
                "back": self._home(),
            },
        )


@action(description=LABEL)
def release_selected(
    admin: Any, request: HttpRequest, queryset: QuerySet[Lease]
) -> HttpResponseBase:
    """Release the holds that were ticked in the list."""
    return BulkRelease(admin, request, queryset).respond()


def _chosen(
    admin: Any, request: HttpRequest, queryset: QuerySet[Lease], *, sent: bool
) -> tuple[Sequence[Any], int]:
    """Return the holds of this run, the oldest first, and how many are left out.

    Of a form that was sent, those it names, whatever became of them since.
    """
    if sent:
        named = map(parse_uuid, request.POST.getlist(ACTION_CHECKBOX_NAME))
        keys = [key for key in named if key][:MOST]
        found = admin.get_queryset(request).filter(pk__in=keys)
        return list(found.order_by("pk")), 0
    live = queryset.filter(LIVE).order_by("pk")
    return list(live[:MOST]), max(0, live.count() - MOST)


def _spec(count: int, left: int) -> Command:
    chosen = f"{count:,} hold{'' if count == 1 else 's'} chosen"
    if left:
        chosen = f"The {count:,} oldest of {count + left:,} chosen holds: do the other "
        chosen += f"{left:,} afterwards"
    return Command(
        LABEL,
        PERMISSION,
        form=BulkReleaseForm,
        variant=ActionVariant.DANGER,
        description=f"{chosen}. Each gives back the quantity and money it holds, at "
        "once. What is committed under it afterwards will be kept aside as quarantined "
        "usage and not charged.",
        on_list=True,
    )


def _free(lease: Lease, *, at: datetime, by: AuditContext, keep: bool) -> str:
    """Release one hold, undone unless `keep`; return what became of it, in words."""
    try:
        with transaction.atomic():
            done = release_hold(lease=lease, at=at, by=by)
            check_now()
            if not keep:
                transaction.set_rollback(True)
    except (DomainError, DatabaseError) as error:
        refusal = as_refusal(error)
        if refusal is None:
            raise
        return f"Not released: {refusal.message}"
    if not done.canceled:
        return "Has ended by itself: nothing is held any more"
    return "Released" if keep else "Will be released"
