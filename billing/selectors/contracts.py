"""Reads of contracts and their terms, as of any time and as known at any time.

A window and a term's version have times of their own. A contract's status has none: at
T it is what it was at the earlier of T and K, as what a plan says (docs/plans.md).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from billing.models import BillingAccount, BillingContract, ContractTerm, TermKind
from billing.policies.contract_pricing import PricingTerm
from config.kernel.errors import NotFound
from config.kernel.ids import parse_uuid

_LIVE = """
SELECT c.id, c.name, c.window_start, c.window_end
FROM billing_contracts c
WHERE c.realm_id = %(realm)s AND c.account_id = %(account)s AND c.status = 'active'
"""

# Each contract as its last history row by K says, its status as that of the earlier
# of T and K; before the first, the first.
_KNOWN = """
SELECT c.id, c.name, c.window_start, c.window_end
FROM (
    SELECT DISTINCT ON (h.id) h.*
    FROM billing_contracts_history h
    WHERE h.realm_id = %(realm)s AND h.account_id = %(account)s
        AND h.history_date <= %(known_at)s
    ORDER BY h.id, h.history_date DESC, h.history_id DESC
) c
JOIN LATERAL (
    SELECT h.status FROM billing_contracts_history h
    WHERE h.id = c.id
    ORDER BY h.history_date <= least(%(as_of)s, %(known_at)s) DESC,
        CASE WHEN h.history_date <= least(%(as_of)s, %(known_at)s)
            THEN -h.history_id ELSE h.history_id END
    LIMIT 1
) s ON s.status = 'active'
WHERE true
"""

_IN_FORCE = """
    AND c.window_start <= %(as_of)s
    AND (c.window_end IS NULL OR c.window_end > %(as_of)s)
ORDER BY c.window_start DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class ContractInForce:
    """The contract that holds for an account at one instant; open where no end."""

    contract_id: UUID
    name: str | None
    window_start: datetime
    window_end: datetime | None


def contract_in_force(
    *,
    account: BillingAccount,
    as_of: datetime,
    known_at: datetime | None = None,
    at: datetime | None = None,
) -> ContractInForce | None:
    """Return the contract in force at `as_of`, as known at `known_at`; None for none.

    Of the active ones whose window contains it, the one that started last. `at` is the
    present: where neither time lies before it, the live table answers.
    """
    present = at or as_of
    live = as_of >= present and (known_at is None or known_at >= present)
    arguments: dict[str, Any] = {
        "realm": account.realm_id,
        "account": account.pk,
        "as_of": as_of,
        "known_at": known_at or max(present, as_of),
    }
    with connection.cursor() as cursor:
        cursor.execute((_LIVE if live else _KNOWN) + _IN_FORCE, arguments)
        row = cursor.fetchone()
    return ContractInForce(*row) if row else None


def pricing_terms(
    *,
    account: BillingAccount,
    meter_codes: Collection[str],
    as_of: datetime,
    at: datetime | None = None,
) -> dict[str, PricingTerm]:
    """Return the pricing terms in force at `as_of` for the meters, by meter code.

    As known now; `at` is the present. A meter that the contract in force does not speak
    of is absent.
    """
    contract = contract_in_force(account=account, as_of=as_of, at=at)
    if contract is None:
        return {}
    versions = _versions(account.realm_id, contract.contract_id).filter(
        kind=TermKind.PRICING, term_key__in=list(meter_codes), effective_at__lte=as_of
    )
    return {
        term.term_key: PricingTerm(
            contract_id=contract.contract_id,
            term_key=term.term_key,
            effective_at=term.effective_at,
            value=term.value_json,
        )
        for term in _latest(versions)
    }


def contract_of(account: BillingAccount, contract_id: object) -> BillingContract:
    """Return the account's contract of that id (404 if none)."""
    key = parse_uuid(str(contract_id))
    contracts = list_contracts(account)
    contract = contracts.filter(pk=key).first() if key else None
    if contract is None:
        raise NotFound(f"Contract not found: there is no {contract_id}.")
    return contract


def list_contracts(
    account: BillingAccount, *, status: Collection[str] | None = None
) -> QuerySet[BillingContract]:
    """Return the account's contracts, where given those of one of the statuses."""
    rows = BillingContract.objects.in_realm(account.realm_id).filter(account=account)
    if status:
        rows = rows.filter(status__in=list(status))
    return rows.select_related("account__realm")


def list_terms(
    contract: BillingContract,
    *,
    term_key: Collection[str] | None = None,
    kind: str | None = None,
    as_of: datetime | None = None,
    known_at: datetime | None = None,
    latest: bool = False,
) -> QuerySet[ContractTerm]:
    """Return the versions of a contract's terms that match every given filter.

    `as_of` keeps those effective by then, `known_at` those recorded by then, and
    `latest` of what is left the last version of each kind and key: so all three give
    what was in force at `as_of`, as known at `known_at`.
    """
    conditions: dict[str, Any] = {
        "term_key__in": list(term_key) if term_key else None,
        "kind": kind,
        "effective_at__lte": as_of,
        "recorded_at__lte": known_at,
    }
    versions = _versions(contract.realm_id, contract.pk).filter(
        **{name: value for name, value in conditions.items() if value is not None}
    )
    if not latest:
        return versions
    return _versions(contract.realm_id, contract.pk).filter(
        pk__in=_latest(versions).values("pk")
    )


def _versions(realm_id: str, contract_id: UUID) -> QuerySet[ContractTerm]:
    return ContractTerm.objects.in_realm(realm_id).filter(contract_id=contract_id)


def _latest(versions: QuerySet[ContractTerm]) -> QuerySet[ContractTerm]:
    """Return the last version of each kind and key."""
    return versions.order_by("kind", "term_key", "-effective_at").distinct(
        "kind", "term_key"
    )
