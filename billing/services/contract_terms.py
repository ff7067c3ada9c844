"""The verb on a contract's terms: a version is added, and never changed."""

import json
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import JSONField, Value

from billing.models import BillingContract, ContractTerm, TermKind
from billing.policies.contract_pricing import read_pricing
from catalog.models import Meter
from catalog.services.rows import locked
from config.kernel.audit import AuditContext
from config.kernel.codes import normalize_code
from config.kernel.errors import Conflict, Invalid
from config.kernel.metadata.document import MAX_BYTES, check_document
from config.kernel.windows import format_instant
from config.tenancy.services.events import record_event


class TermStands(Conflict):
    """The same version of a term stands with another value (409)."""

    def __init__(self, term: ContractTerm) -> None:
        super().__init__(
            "term already exists with different value_json: "
            f"{term.kind} {term.term_key} from {format_instant(term.effective_at)}. "
            "A version is never changed; add one with a later effective_at.",
            field="value_json",
        )


@transaction.atomic
def add_contract_term(
    *,
    contract: BillingContract,
    kind: str,
    term_key: str,
    effective_at: datetime,
    value: Any,
    at: datetime,
    by: AuditContext,
) -> tuple[ContractTerm, bool]:
    """Add a version of a term, in force from `effective_at` (aware UTC) on.

    Returns it and whether it is new: the same version with the same value is the same
    result. `value` is any JSON; that of a pricing term speaks about the meter
    `term_key`. Refuses (`Invalid`) an unknown kind, a bad key, a value over 64 KiB, and
    of a pricing term an unknown meter and what `read_pricing` refuses; and
    (`TermStands`) the same version with another value.
    """
    if kind not in TermKind.values:
        raise Invalid(
            f"A term's kind is one of {', '.join(TermKind.values)}.", field="kind"
        )
    term_key = normalize_code(term_key, "term_key")
    if kind == TermKind.PRICING:
        _require_meter(contract, term_key)
    _check_value(kind, term_key, value)
    contract = locked(BillingContract.objects.in_realm(contract.realm_id), contract)
    versions = ContractTerm.objects.in_realm(contract.realm_id).filter(
        contract=contract, kind=kind, term_key=term_key, effective_at=effective_at
    )
    stored = versions.first()
    # As the database compares JSON: 1 and 1.0 are the same, 1 and true are not.
    written = Value(value, JSONField())
    if stored is None:
        return _inserted(contract, kind, term_key, effective_at, written, at, by), True
    if not versions.filter(value_json=written).exists():
        raise TermStands(stored)
    return stored, False


def _check_value(kind: str, term_key: str, value: Any) -> None:
    if isinstance(value, dict):
        check_document(value, "value_json")
    elif len(json.dumps(value, ensure_ascii=False).encode()) > MAX_BYTES:
        raise Invalid(
            f"value_json must have at most {MAX_BYTES} bytes as JSON.",
            field="value_json",
        )
    if kind == TermKind.PRICING:
        read_pricing(value, term_key)


def _require_meter(contract: BillingContract, term_key: str) -> None:
    meters = Meter.objects.in_realm(contract.realm_id).filter(meter_code=term_key)
    if not meters.exists():
        raise Invalid(f"This realm has no meter {term_key}.", field="term_key")


def _explained(by: AuditContext) -> dict[str, str]:
    return {
        "actor_kind": by.actor.kind,
        "actor_id": by.actor.identifier,
        "operator": by.operator,
        "reason": by.reason,
        "ticket_id": by.ticket_id,
        "trace_id": by.trace_id,
    }


def _inserted(
    contract: BillingContract,
    kind: str,
    term_key: str,
    effective_at: datetime,
    value: Value,
    at: datetime,
    by: AuditContext,
) -> ContractTerm:
    term = ContractTerm(
        realm_id=contract.realm_id,
        contract=contract,
        kind=kind,
        term_key=term_key,
        effective_at=effective_at,
        value_json=value,
        recorded_at=at,
        **_explained(by),
    )
    term.save(force_insert=True)
    term.value_json = value.value
    record_event(
        realm=contract.realm,
        kind="contract_term.added",
        subject=term,
        payload={
            "billing_account_id": str(contract.account_id),
            "contract_id": str(contract.pk),
            "kind": kind,
            "term_key": term_key,
            "effective_at": format_instant(effective_at),
        },
        at=at,
        by=by,
    )
    return term
