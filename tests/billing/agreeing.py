"""Contracts and terms, in one line each."""

from billing.services.contract_terms import add_contract_term
from billing.services.contracts import upsert_contract

V1 = "vluna/contract_pricing:v1"
V2 = "billing/contract_pricing:v2"


def times(multiplier):
    return {"op": "multiplier", "multiplier": multiplier}


def fixed(numerator, denominator=1):
    return {
        "op": "fixed",
        "numerator_xusd": str(numerator),
        "denominator_minor": str(denominator),
    }


def delta(numerator, denominator=1):
    return fixed(numerator, denominator) | {"op": "delta"}


def price(*adjustments, meter="chat", base=None, cost=None):
    """A v2 term on the price; `cost` holds the adjustments of the cost."""
    side = {"adjustments": list(adjustments)} | ({"base": base} if base else {})
    value = {"schema": V2, "meter_code": meter, "price": side}
    return value if cost is None else value | {"cost": {"adjustments": cost}}


def agreed(account, start, *, at, by, **values):
    """A contract of the account from an instant on."""
    contract, _created = upsert_contract(
        account=account, effective_at=start, values=values, at=at, by=by
    )
    return contract


def termed(contract, value, start, *, at, by, key="chat", kind="pricing"):
    """A version of a term from an instant on."""
    term, _created = add_contract_term(
        contract=contract,
        kind=kind,
        term_key=key,
        effective_at=start,
        value=value,
        at=at,
        by=by,
    )
    return term
