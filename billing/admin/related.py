"""What else is on record of an account or user: lists that apps above keep."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from billing.models import BillingAccount, BillingUser


@dataclass(frozen=True, slots=True)
class Related:
    """A list that can be narrowed to one account or user.

    Attributes:
        label: the link's text: "Denials".
        url_name: the list, reversed without arguments.
        permission: who may see it (`app.codename`).
        order: smaller stands first.
        of_users: whether it can be narrowed to one user; all can to an account.
        user_page: the page that a user has there, reversed with the user's id, where
            the rows of the list are users.

    """

    label: str
    url_name: str
    permission: str
    order: int = 100
    of_users: bool = True
    user_page: str = ""


_related: dict[str, Related] = {}


def add_related(related: Related) -> None:
    """Offer a list on the pages of accounts and users. One list is offered once."""
    _related[related.url_name] = related


def related_links(
    request: HttpRequest, row: BillingAccount | BillingUser
) -> list[dict[str, Any]]:
    """Return label and address of each list that may be seen, of this row only."""
    field = "account" if isinstance(row, BillingAccount) else "user"
    return [
        {
            "label": related.label,
            "address": _address(related, field, row),
        }
        for related in sorted(_related.values(), key=lambda known: known.order)
        if request.user.has_perm(related.permission)
        and (related.of_users or field == "account")
    ]


def _address(related: Related, field: str, row: BillingAccount | BillingUser) -> str:
    if related.user_page and field == "user":
        return reverse(related.user_page, args=[row.pk])
    return f"{reverse(related.url_name)}?{field}={row.pk}"
