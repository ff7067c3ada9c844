"""Verbs on contracts: what is agreed with an account, from when to when."""

from datetime import datetime
from typing import Any

from django.db import transaction

from billing.models import BillingAccount, BillingContract, ContractStatus
from billing.services.accounts import lock_account
from catalog.services.rows import rewritten
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid, Refused
from config.kernel.metadata import BillingContractMetadata, check_metadata
from config.kernel.windows import Window, format_instant
from config.tenancy.history import auditing
from config.tenancy.services.events import record_event

FIELDS = ("status", "name", "metadata", "window_end")


class ContractEndsOutside(Refused):
    """The end does not lie after the contract's start and by its present end (422)."""

    default_code = "CONTRACT.OUTSIDE_WINDOW"


class ContractEndsAlready(Refused):
    """The contract already ends at that instant; nothing changed (422)."""

    default_code = "CONTRACT.ALREADY_DONE"


@transaction.atomic
def upsert_contract(
    *,
    account: BillingAccount,
    effective_at: datetime,
    values: dict[str, Any],
    at: datetime,
    by: AuditContext,
) -> tuple[BillingContract, bool]:
    """Create the account's contract from `effective_at` on, or overwrite that one.

    Returns it and whether it is new. Of `values` (as in `FIELDS`), a status, name or
    metadata that is left out takes its default, also on an existing contract; its end
    stays. Refuses (`Invalid`) an unknown status, a blank name, bad metadata, and an end
    that is not after the start.
    """
    account = lock_account(account)
    defaults: dict[str, Any] = {
        "status": ContractStatus.ACTIVE,
        "name": None,
        "metadata": {},
    }
    given = defaults | {name: values[name] for name in FIELDS if name in values}
    rows = BillingContract.objects.in_realm(account.realm_id)
    known = rows.filter(account=account, window_start=effective_at).first()
    if known is not None:
        known.account = account
        _apply(known, given, at=at, by=by)
        return known, False
    _check(effective_at, given)
    contract = BillingContract(
        realm_id=account.realm_id, account=account, window_start=effective_at, **given
    )
    # The window says when it holds, so it may be meant for later.
    with auditing(by, at=at, ahead=True):
        contract.save(force_insert=True)
        _announce(contract, at=at, by=by)
    return contract, True


@transaction.atomic
def change_contract(
    *,
    contract: BillingContract,
    changes: dict[str, Any],
    at: datetime,
    by: AuditContext,
) -> BillingContract:
    """Set the given fields of a contract (as in `FIELDS`), and keep the others.

    A name of None removes it, an end of None re-opens the contract; metadata is set
    as a whole. A status holds at once, an end when it says. Refuses (`Invalid`) what
    `upsert_contract` refuses, and (AUDIT.EFFECTIVE_IN_FUTURE) another change than the
    end's that is meant for later.
    """
    contract = _locked(contract)
    _apply(contract, changes, at=at, by=by)
    return contract


@transaction.atomic
def end_contract(
    *, contract: BillingContract, end_at: datetime, at: datetime, by: AuditContext
) -> BillingContract:
    """End a contract at `end_at` (aware UTC); until then it stays in force.

    Refuses an end at or before its start, or after its present end
    (CONTRACT.OUTSIDE_WINDOW), and the end it has (CONTRACT.ALREADY_DONE).
    """
    contract = _locked(contract)
    start, end = contract.window_start, contract.window_end
    if end == end_at:
        raise ContractEndsAlready(
            f"The contract already ends {format_instant(end_at)}.", field="end_at"
        )
    if end_at <= start or (end is not None and end_at > end):
        present = format_instant(end) if end else "open"
        raise ContractEndsOutside(
            f"The end must lie after the start ({format_instant(start)}) and not after "
            f"the present end ({present}). To take back a contract that has not "
            "started, disable it.",
            field="end_at",
        )
    _apply(contract, {"window_end": end_at}, at=at, by=by)
    return contract


def _locked(contract: BillingContract) -> BillingContract:
    """Return the contract as it is now, under the lock of its account."""
    account = lock_account(contract.account)
    contract = BillingContract.objects.in_realm(account.realm_id).get(pk=contract.pk)
    contract.account = account
    return contract


def _check(start: datetime, values: dict[str, Any]) -> None:
    status, name = values["status"], values["name"]
    if status not in ContractStatus.values:
        raise Invalid(
            f"A contract's status is one of {', '.join(ContractStatus.values)}.",
            field="status",
        )
    if name is not None and not name.strip():
        raise Invalid("A contract's name must not be blank.", field="name")
    check_metadata(BillingContractMetadata, values["metadata"])
    Window(start, values.get("window_end"))


def _apply(
    contract: BillingContract,
    changes: dict[str, Any],
    *,
    at: datetime,
    by: AuditContext,
) -> None:
    values = {name: changes.get(name, getattr(contract, name)) for name in FIELDS}
    _check(contract.window_start, values)
    with auditing(by, at=at, ahead=True):
        changed = rewritten(contract, values, at=at)
        if not changed:
            return
        if changed != ["window_end"] and by.effective_at > contract.window_start:
            by.require_in_effect(at)
        _announce(contract, at=at, by=by)


def _announce(contract: BillingContract, *, at: datetime, by: AuditContext) -> None:
    end = contract.window_end
    record_event(
        realm=contract.account.realm,
        kind="contract.changed",
        subject=contract,
        payload={
            "billing_account_id": str(contract.account_id),
            "status": contract.status,
            "window_start": format_instant(contract.window_start),
            "window_end": format_instant(end) if end else None,
        },
        at=at,
        by=by,
    )
