"""The one way into the ledger: a posting, whose entries sum to zero."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from billing.models import BillingUser
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, Invalid
from grants.models import (
    GrantLot,
    LedgerAccount,
    LedgerEntry,
    LedgerKind,
    Posting,
    PostingReason,
)

MOST_XUSD = 2**60
"""The most that a ledger account may come to, either way: about 10^12 US dollars.

So the sum of a user's accounts, and of all that lots have, fits into 64 bits.
"""


class AlreadyReversed(Conflict):
    """The posting was reversed before, or is itself a reversal (409)."""


class KeyPostedOtherwise(Conflict):
    """The idempotency key stands for another posting (409)."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One side of a posting: what one ledger account gains, or loses below 0.

    Attributes:
        kind: which account of the user.
        amount_xusd: in 10^-6 USD; 0 is left out.
        lot: the lot that it is about, where it is.

    """

    kind: LedgerKind
    amount_xusd: int
    lot: GrantLot | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """Why money moved: the reason, what caused it, and its own idempotency key.

    `source_ref` has 1 to 255 characters. `key` is unique per user.
    """

    reason: PostingReason
    source_ref: str
    key: str


def one_at_a_time(user: BillingUser) -> None:
    """Lock the user, so that a repeat finds what the first one did.

    Comes before the locks of its lots.
    """
    BillingUser.objects.select_for_update(no_key=True).get(pk=user.pk)


def holding_of(lot: GrantLot) -> LedgerKind:
    """Return the ledger account that what is left of the lot stands on."""
    return LedgerKind.WALLET if lot.on_ledger else LedgerKind.PROMOTIONAL


def move(
    source: LedgerKind,
    target: LedgerKind,
    amount_xusd: int,
    *,
    lot: GrantLot | None = None,
) -> list[Leg]:
    """Return the two legs that take an amount (10^-6 USD) from `source` to `target`."""
    return [Leg(source, -amount_xusd, lot), Leg(target, amount_xusd, lot)]


@transaction.atomic
def post(
    *,
    user: BillingUser,
    cause: Cause,
    legs: Sequence[Leg],
    at: datetime,
    by: AuditContext,
    reverses: Posting | None = None,
) -> tuple[Posting, bool]:
    """Move money in the user's ledger once per `cause.key`.

    Returns the posting, and whether it is new: a repeat of the key changes nothing.
    The legs must sum to zero. `at` is aware UTC. Locks the ledger accounts in order
    of id. Refuses (`Invalid`) legs that do not sum to zero, or move nothing, and a
    balance beyond `MOST_XUSD`; and a key that stands for another reason or source
    (`KeyPostedOtherwise`, 409).
    """
    moved = [leg for leg in legs if leg.amount_xusd != 0]
    if not moved or sum(leg.amount_xusd for leg in moved) != 0:
        raise Invalid("The entries of a posting must move money and sum to zero.")
    accounts = _locked_accounts(user, {leg.kind for leg in moved})
    earlier = Posting.objects.in_realm(user.realm_id).filter(
        user=user, idempotency_key=cause.key
    )
    found = earlier.first()
    if found is not None:
        return _same(found, cause), False
    posting = _append(user, cause, at=at, by=by, reverses=reverses)
    entries = [_entry(posting, accounts[leg.kind], leg) for leg in moved]
    LedgerAccount.objects.bulk_update(
        accounts.values(), ["balance_xusd", "entry_count"]
    )
    LedgerEntry.objects.bulk_create(entries)
    return posting, True


def post_anew(
    *,
    user: BillingUser,
    cause: Cause,
    legs: Sequence[Leg],
    at: datetime,
    by: AuditContext,
) -> Posting:
    """Move money as `post` does, where the caller's locks say that it never moved yet.

    Refuses also a repeat of the key (`KeyPostedOtherwise`, 409): going on would change
    lots without an entry that says so.
    """
    posting, created = post(user=user, cause=cause, legs=legs, at=at, by=by)
    if not created:
        raise KeyPostedOtherwise(f"{cause.key} was posted before.")
    return posting


@transaction.atomic
def reverse(posting: Posting, *, at: datetime, by: AuditContext) -> Posting:
    """Undo a posting by a new one with the opposite entries; return the new one.

    Refuses one that was reversed before, and a reversal (`AlreadyReversed`, 409). The
    lots that the posting was about are the caller's to put right.
    """
    # Not the posting: nobody may update one, and so lock it.
    one_at_a_time(posting.user)
    require_not_reversed(posting)
    legs = [
        Leg(LedgerKind(entry.ledger_account.kind), -entry.amount_xusd, entry.lot)
        for entry in posting.entries.select_related("ledger_account", "lot")
    ]
    cause = Cause(PostingReason.REVERSAL, posting.source_ref, f"reversal:{posting.pk}")
    return post(
        user=posting.user, cause=cause, legs=legs, at=at, by=by, reverses=posting
    )[0]


def require_not_reversed(posting: Posting) -> None:
    """Refuse (`AlreadyReversed`) a posting that was reversed, and a reversal."""
    is_one = posting.reason == PostingReason.REVERSAL
    # Asked anew: what the row knows may be older than the lock.
    if is_one or Posting.objects.filter(reverses_id=posting.pk).exists():
        raise AlreadyReversed("This posting was reversed before, or is a reversal.")


def _locked_accounts(
    user: BillingUser, kinds: set[LedgerKind]
) -> dict[str, LedgerAccount]:
    """Return the user's accounts of these kinds, made on first sight, locked."""
    own = LedgerAccount.objects.in_realm(user.realm_id).filter(
        user=user, kind__in=kinds
    )
    locked = own.select_for_update(no_key=True).order_by("id")
    found = {row.kind: row for row in locked}
    if len(found) < len(kinds):
        missing = [
            LedgerAccount(
                realm_id=user.realm_id,
                account_id=user.account_id,
                user=user,
                kind=kind,
            )
            for kind in sorted(kinds - set(found))
        ]
        LedgerAccount.objects.bulk_create(missing, ignore_conflicts=True)
        found = {row.kind: row for row in locked.all()}
    return found


def _same(found: Posting, cause: Cause) -> Posting:
    if (found.reason, found.source_ref) != (cause.reason, cause.source_ref):
        raise KeyPostedOtherwise(
            f"The idempotency key already stands for {found.source_ref}, not "
            f"{cause.source_ref}.",
            field="Idempotency-Key",
        )
    return found


def _append(
    user: BillingUser,
    cause: Cause,
    *,
    at: datetime,
    by: AuditContext,
    reverses: Posting | None,
) -> Posting:
    return Posting.objects.create(
        realm_id=user.realm_id,
        account_id=user.account_id,
        user=user,
        reason=cause.reason,
        source_ref=cause.source_ref,
        idempotency_key=cause.key,
        reverses=reverses,
        actor_kind=by.actor.kind,
        actor_id=by.actor.identifier,
        operator=by.operator,
        explanation=by.reason,
        ticket_id=by.ticket_id,
        trace_id=by.trace_id,
        effective_at=by.effective_at,
        occurred_at=at,
    )


def _entry(posting: Posting, account: LedgerAccount, leg: Leg) -> LedgerEntry:
    """Return the leg as the account's next entry, and advance the account."""
    balance = account.balance_xusd + leg.amount_xusd
    if not -MOST_XUSD <= balance <= MOST_XUSD:
        raise Invalid(
            f"The ledger account {account.get_kind_display()} would pass {MOST_XUSD} "
            "xusd.",
            field="amount_xusd",
        )
    account.balance_xusd, account.entry_count = balance, account.entry_count + 1
    return LedgerEntry(
        realm_id=posting.realm_id,
        account_id=posting.account_id,
        user_id=posting.user_id,
        posting=posting,
        ledger_account=account,
        lot=leg.lot,
        seq=account.entry_count,
        amount_xusd=leg.amount_xusd,
        balance_xusd=balance,
        occurred_at=posting.occurred_at,
    )
