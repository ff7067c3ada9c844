"""Verdicts as documents: what was known, and how it decided. Pure.

`facts_document` and `read_facts` are inverse to each other, so that a stored decision
can be made again: `decide(read_ask(e["ask"]), read_facts(e["facts"]))`. Integers stand
as text, because a reader may have fewer than 64 bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from config.kernel.windows import format_instant, parse_instant
from gating.facts import (
    Ask,
    BudgetFact,
    CounterKey,
    Facts,
    FeatureFact,
    Funding,
    PolicyWindow,
    PriceTerm,
    SeatWindow,
    UnitPrice,
)
from gating.pricing import TermFault
from gating.verdicts import Verdict

Document = dict[str, Any]

_INSTANTS = frozenset(
    {
        "at",
        "version",
        "window_start",
        "window_end",
        "expires_at",
        "effective_at",
        "closed_at",
    }
)
_IDS = frozenset({"policy_id", "subject_id", "counter_id", "budget_id"})


def _written(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {name: _written(item) for name, item in value.items()}
    if isinstance(value, Sequence):
        return [_written(item) for item in value]
    if isinstance(value, datetime):
        return format_instant(value)
    return str(value)


def _read(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if name in _INSTANTS:
        return parse_instant(value)
    if name in _IDS:
        return UUID(value)
    if name in {"limit", "taken"} or name.endswith(("_minor", "_seconds", "_xusd")):
        return int(value)
    return tuple(value) if isinstance(value, list) else value


def _fields(document: Document, **nested: Any) -> Document:
    return {name: _read(name, value) for name, value in document.items()} | nested


def facts_document(facts: Facts) -> Document:
    """Return the facts as a JSON object."""
    document: Document = _written(asdict(facts))
    return document


def read_ask(document: Document) -> Ask:
    """Return the request of a stored decision."""
    return Ask(**_fields(document))


def read_facts(document: Document) -> Facts:
    """Return the facts of a stored decision."""
    feature, funding = document["feature"], document["funding"]
    return Facts(
        **_fields(
            {name: document[name] for name in ("at", "entitlement", "plan_code")},
            bundle_missing=document["bundle_missing"],
            feature=FeatureFact(**feature) if feature else None,
            quotas=tuple(_window(item) for item in document["quotas"]),
            rates=tuple(_window(item) for item in document["rates"]),
            seats=tuple(SeatWindow(**_fields(item)) for item in document["seats"]),
            funding=Funding(
                **_fields(
                    funding,
                    price=_price(funding["price"]),
                    # Decisions stored before there were contracts have none.
                    faults=tuple(
                        TermFault(**each) for each in funding.get("faults", ())
                    ),
                )
            ),
            # What was stored before there were budgets names none.
            budget=read_budget(document.get("budget")),
        )
    )


def _price(document: Document | None) -> UnitPrice | None:
    if document is None:
        return None
    term = document.get("term")
    return UnitPrice(
        **_fields(document, term=PriceTerm(**_fields(term)) if term else None)
    )


def read_budget(document: Document | None) -> BudgetFact | None:
    """Return a budget as it was seen, its integers written either way."""
    return BudgetFact(**_fields(document)) if document else None


def _window(document: Document) -> PolicyWindow:
    counter = CounterKey(**_fields(document["counter"]))
    return PolicyWindow(**_fields(document, counter=counter))


def decision_document(ask: Ask, facts: Facts, verdict: Verdict) -> Document:
    """Return a decision in full: what was asked, what was known, what was said."""
    denial = verdict.denial
    return {
        "ask": _written(asdict(ask)),
        "facts": facts_document(facts),
        "verdict": {
            "allowed": verdict.allowed,
            "reason": denial.reason if denial else None,
            "sentence": denial.sentence if denial else None,
            "hints": list(denial.hints if denial else verdict.hints),
            "held_minor": [str(hold.quantity_minor) for hold in verdict.holds],
            "wallet_xusd": str(verdict.wallet_xusd),
        },
    }
