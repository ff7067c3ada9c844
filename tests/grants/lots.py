"""Lots, and uses of them, as one test needs them: rows as issuance and the gate make them."""

from datetime import timedelta

from django.db import transaction
from django.db.models import F

from config.kernel.ids import new_id
from config.tenancy.history import auditing
from grants.models import (
    FALLBACK_PROGRAM,
    GrantAllocation,
    GrantAssignment,
    GrantLot,
    GrantProgram,
    LedgerKind,
    PostingReason,
)
from grants.services.closing import close_ended_lots
from grants.services.ledger import Cause, holding_of, move, post
from grants.services.seals import seal_entries
from grants.services.settlement_sweep import settle_pending

DAY = timedelta(days=1)


def program_of(realm, code="monthly_xusd", *, at, by, **terms):
    """Return the realm's program of that code, made where it has none."""
    found = GrantProgram.objects.filter(realm=realm, program_code=code).first()
    if found is None:
        with transaction.atomic(), auditing(by, at=at):
            found = GrantProgram.objects.create(
                realm=realm,
                program_code=code,
                cadence=terms.pop("cadence", "once"),
                **terms,
            )
    return found


def overage_program(realm, *, at, by):
    return program_of(
        realm,
        FALLBACK_PROGRAM,
        at=at,
        by=by,
        window_kind="forever",
        grant_kind="fallback",
        priority=-100_000,
    )


def bind(
    user, *, at, by, code="monthly_xusd", policy=None, end=None, start=None, **terms
):
    """Bind the user to a program, under a source of its own."""
    override = {"expiry_policy": policy} if policy else {}
    with transaction.atomic(), auditing(by, at=at):
        return GrantAssignment.objects.create(
            realm_id=user.realm_id,
            account_id=user.account_id,
            user=user,
            program=program_of(user.realm, code, at=at, by=by),
            source_kind="ops.manual",
            source_ref=str(new_id()),
            window_start=start or at,
            window_end=end,
            metadata={"grant_override": override},
            **terms,
        )


def give(user, amount_xusd, *, at, by, assignment=None, days=30, **terms):
    """Issue a lot: its row and its posting, in one transaction."""
    assignment = assignment or bind(user, at=at, by=by)
    start = terms.pop("window_start", at)
    end = terms.pop("window_end", start + days * DAY if days else None)
    key = terms.pop("issue_key", f"grant:{new_id()}")
    with transaction.atomic():
        with auditing(by, at=at):
            lot = GrantLot.objects.create(
                realm_id=user.realm_id,
                account_id=user.account_id,
                user=user,
                program=assignment.program,
                assignment=assignment,
                period_start=start,
                period_end=end,
                issue_key=key,
                source_kind=assignment.source_kind,
                source_ref=assignment.source_ref,
                window_start=start,
                window_end=end,
                amount_xusd=amount_xusd,
                **terms,
            )
        cause = Cause(PostingReason.ISSUE, f"grant_lot:{lot.pk}", f"issue:{lot.pk}")
        legs = move(LedgerKind.ISSUED, holding_of(lot), amount_xusd, lot=lot)
        post(user=user, cause=cause, legs=legs, at=at, by=by)
    return lot


@transaction.atomic
def use(user, amount_xusd, *, at, lot=None, source=None):
    """Take from a lot, or leave owing, as a use does; False where the lot lacks it."""
    if lot is not None:
        left = F("amount_xusd") - F("consumed_xusd") - F("reserved_xusd")
        changed = (
            GrantLot.objects.annotate(left=left)
            .filter(pk=lot.pk, status__in=("ready", "active"), left__gte=amount_xusd)
            .update(consumed_xusd=F("consumed_xusd") + amount_xusd)
        )
        if not changed:
            return False
    GrantAllocation.objects.create(
        realm_id=user.realm_id,
        account_id=user.account_id,
        user=user,
        lot=lot,
        amount_xusd=amount_xusd,
        source_ref=source or f"test:{new_id()}",
        occurred_at=at,
    )
    return True


def hold(lot, amount_xusd):
    """Reserve on a lot, as a lease does; below 0 gives back."""
    GrantLot.objects.filter(pk=lot.pk).update(
        reserved_xusd=F("reserved_xusd") + amount_xusd
    )


def balances(user):
    """Return the user's ledger: balance by account, without those that are empty."""
    rows = user.ledger_accounts.values_list("kind", "balance_xusd")
    return {kind: balance for kind, balance in rows if balance}


def finish_others(*, at, by):
    """Settle, close and seal what other tests left, so that a job finds one test's only."""
    while settle_pending(at=at, by=by).count:
        pass
    far = at.replace(year=2100)
    while close_ended_lots(at=far, by=by.effective(far)).closed:
        pass
    seal_entries(at=at)
