"""Verbs that give credit."""

from datetime import datetime

from django.db import transaction

from billing.models import BillingUser
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, Invalid
from config.kernel.money import INT64_MAX, parse_posint
from config.tenancy.services.events import record_event
from grants.models import CreditBalance, CreditEntry, EntryKind
from grants.services.funding import check_source_ref, lock_balance


class SourceAlreadyCredited(Conflict):
    """The source already stands for a credit of another amount (409)."""


class KeyAlreadyUsed(Conflict):
    """The idempotency key already stands for the credit of another source (409)."""


def credit_balance(
    *,
    user: BillingUser,
    amount_xusd: int,
    source_ref: str,
    at: datetime,
    by: AuditContext,
) -> CreditEntry:
    """Give a user credit and return its entry; see `ensure_credit`."""
    return ensure_credit(
        user=user, amount_xusd=amount_xusd, source_ref=source_ref, at=at, by=by
    )[0]


@transaction.atomic
def ensure_credit(
    *,
    user: BillingUser,
    amount_xusd: int,
    source_ref: str,
    at: datetime,
    by: AuditContext,
) -> tuple[CreditEntry, bool]:
    """Give a user credit once per `source_ref`; return its entry and whether it is new.

    `amount_xusd` is in 10^-6 USD, 1 or more, and can be spent at once. A repeat of the
    source with the same amount changes nothing. Refuses the source with another amount
    (`SourceAlreadyCredited`), the idempotency key of another source (`KeyAlreadyUsed`),
    an effective time still to come (AUDIT.EFFECTIVE_IN_FUTURE), and (`Invalid`) a bad
    amount or source and a total beyond 64 bits.
    """
    amount = parse_posint(amount_xusd, "amount_xusd")
    check_source_ref(source_ref)
    balance = lock_balance(user=user, at=at)
    earlier = _credit_of(balance, source_ref)
    if earlier is not None:
        return _same(earlier, amount), False
    _check_new(balance, amount, at=at, by=by)
    balance.granted_xusd += amount
    balance.updated_at = at
    balance.save(update_fields=["granted_xusd", "updated_at"])
    entry = _append_credit(balance, amount, source_ref, at=at, by=by)
    record_event(
        realm=user.realm,
        kind="credit.granted",
        subject=entry,
        payload={"billing_user_id": str(user.pk), "amount_xusd": str(amount)},
        at=at,
        by=by,
    )
    return entry, True


def _credit_of(balance: CreditBalance, source_ref: str) -> CreditEntry | None:
    return CreditEntry.objects.filter(
        realm_id=balance.realm_id,
        user_id=balance.pk,
        kind=EntryKind.CREDIT,
        source_ref=source_ref,
    ).first()


def _same(earlier: CreditEntry, amount_xusd: int) -> CreditEntry:
    if earlier.amount_xusd != amount_xusd:
        raise SourceAlreadyCredited(
            f"{earlier.source_ref} already credited {earlier.amount_xusd} xusd to this "
            f"user, not {amount_xusd}.",
            field="source_ref",
        )
    return earlier


def _check_new(
    balance: CreditBalance, amount_xusd: int, *, at: datetime, by: AuditContext
) -> None:
    by.require_in_effect(
        at,
        "A credit can be spent as soon as it is given; its effective time cannot lie "
        "in the future.",
    )
    if amount_xusd > INT64_MAX - balance.granted_xusd:
        raise Invalid(
            f"This user was given {balance.granted_xusd} xusd; {amount_xusd} more "
            f"would pass the limit of {INT64_MAX}.",
            field="amount_xusd",
        )
    if by.idempotency_key is None:
        return
    used = CreditEntry.objects.filter(
        realm_id=balance.realm_id,
        user_id=balance.pk,
        idempotency_key=by.idempotency_key,
    ).first()
    if used is not None:
        raise KeyAlreadyUsed(
            f"This idempotency key already credited {used.source_ref} to this user.",
            field="Idempotency-Key",
        )


def _append_credit(
    balance: CreditBalance,
    amount_xusd: int,
    source_ref: str,
    *,
    at: datetime,
    by: AuditContext,
) -> CreditEntry:
    return CreditEntry.objects.create(
        realm_id=balance.realm_id,
        account_id=balance.account_id,
        user_id=balance.pk,
        kind=EntryKind.CREDIT,
        amount_xusd=amount_xusd,
        source_ref=source_ref,
        actor_kind=by.actor.kind,
        actor_id=by.actor.identifier,
        operator=by.operator,
        reason=by.reason,
        ticket_id=by.ticket_id,
        trace_id=by.trace_id,
        idempotency_key=by.idempotency_key,
        effective_at=by.effective_at,
        occurred_at=at,
    )
