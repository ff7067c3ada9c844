"""What a purchase gives: to one beneficiary, once per purchase."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from billing.models import BillingUser
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid
from config.kernel.metadata import GrantBinding
from config.kernel.windows import Window
from grants.bindings import terms_of_binding
from grants.models import GrantAssignment, GrantLot, GrantSource
from grants.services.assignments import (
    GrantIdentity,
    GrantTerms,
    assign_grant,
    program_named,
)
from grants.services.issuance import issue_for_all

PURCHASES = (
    GrantSource.SUBSCRIPTION,
    GrantSource.SUBSCRIPTION_ITEM,
    GrantSource.ONE_TIME,
    GrantSource.BILLING_PAYMENT,
    GrantSource.WALLET_CASH,
)


@dataclass(frozen=True, slots=True)
class Purchase:
    """The purchase event: sent again, it is the same one.

    `source_ref` is the provider's id of it. `window` is for how long it gives: of a
    subscription the period that was paid, which a renewal prolongs.
    """

    source_kind: str
    source_ref: str
    window: Window
    payment_id: UUID | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Purchased:
    """One binding of a purchase: the assignment, and the lot of its present period."""

    assignment: GrantAssignment
    lot: GrantLot | None
    is_new: bool


@transaction.atomic
def assign_purchase(
    *,
    user: BillingUser,
    bindings: Sequence[GrantBinding],
    quantity: int,
    purchase: Purchase,
    at: datetime,
    by: AuditContext,
) -> list[Purchased]:
    """Give a user what was bought, and issue it at once; all of it or nothing.

    `bindings` are those of `grants.bindings.merge_bindings`; `quantity` (1 or more)
    multiplies the amounts that scale. `deny` gives nothing. Two purchases of one event
    issue once. Refuses a source that is no purchase (`Invalid`), a program that the
    realm does not have (GRANT.PROGRAM_UNKNOWN), and what `assign_grant` and `issue_lot`
    refuse.
    """
    if purchase.source_kind not in PURCHASES:
        raise Invalid(
            f"A purchase's source kind is one of {', '.join(PURCHASES)}.",
            field="source_kind",
        )
    assignments = [
        _bind(user, grant, quantity, purchase, at=at, by=by)
        # In one order, so that two at once never wait for each other in a circle.
        for grant in sorted(bindings, key=lambda each: each.grant_program_code)
        if grant.effect != "deny"
    ]
    lots = issue_for_all(assignments, at=at, by=by)
    return [
        Purchased(assignment, lot, is_new)
        for assignment, (lot, is_new) in zip(assignments, lots, strict=True)
    ]


def _bind(
    user: BillingUser,
    grant: GrantBinding,
    quantity: int,
    purchase: Purchase,
    *,
    at: datetime,
    by: AuditContext,
) -> GrantAssignment:
    identity = GrantIdentity(
        account=user.account,
        user=user,
        program=program_named(user.realm_id, grant.grant_program_code),
        source_kind=purchase.source_kind,
        source_ref=purchase.source_ref,
        payment_id=purchase.payment_id,
    )
    override = {"grant_override": terms_of_binding(grant)}
    terms = GrantTerms(quantity=quantity, metadata={**purchase.metadata, **override})
    return assign_grant(
        identity=identity, window=purchase.window, terms=terms, at=at, by=by
    )[0]
