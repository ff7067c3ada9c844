"""Commit's items, settled in one stride where that is plain, item by item else."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson

from config.kernel.money import INT64_MAX
from gating.pricing import rate_identity
from gating.rules import MeterRule
from gating.selectors.rules import stored_rules
from gating.services.functions import Document, gate_close, gate_commit
from gating.services.known import learn, likely_rules


def commit_items(
    items: Sequence[Document], *, at: datetime, version: int | None = None
) -> list[Document]:
    """Return what `gate_commit` answers to the items at `at`; refuses as it does."""
    if len(items) == 1 and (rules := likely_rules(items[0])) is not None:
        answer = _closed(rules, items[0], at=at, version=version)
        if answer is not None:
            return [answer]
    answers = gate_commit(items, at=at, version=version)
    for item, answer in zip(items, answers, strict=True):
        learn(item, answer)
    return answers


@lru_cache(maxsize=4096)
def _meters(rule_set_id: UUID) -> dict[str, dict[str, Any]]:
    """Return the plain meters of a rule set, each as `gate_close` takes it."""
    meters = (_plain(meter) for meter in stored_rules(rule_set_id).meters)
    return {meter["meter"]: meter for meter in meters if meter is not None}


def _plain(meter: MeterRule) -> dict[str, Any] | None:
    rate = meter.rate
    if rate is None or rate.residual_mode is not None:
        return None
    identities = rate_identity(rate, "revenue"), rate_identity(rate, "cost")
    if len(set(identities)) == 1:
        return None
    return {
        "meter": meter.meter_code,
        "unit": meter.unit,
        "price": str(rate.unit_price_xusd),
        "per": str(rate.unit_quantity_minor),
        "cost": str(rate.unit_cost_xusd),
        "cost_per": str(rate.cost_unit_quantity_minor),
        "rate": identities[0],
        "cost_rate": identities[1],
    }


def _closed(
    rules: UUID, item: Document, *, at: datetime, version: int | None
) -> Document | None:
    """Return the answer of `gate_close`; None where it, or the item, is not plain."""
    if len(item["uses"]) != 1:
        return None
    (use,) = item["uses"]
    meter = _meters(rules).get(use["meter"])
    if meter is None or use["quantity"] > INT64_MAX:
        return None
    told = gate_close(
        {
            **_subject(rules, item),
            **meter,
            "used": str(use["quantity"]),
            "use": use["id"],
            "etag": use["etag"],
            "version": None if version is None else str(version),
        },
        at=at,
    )
    if told is None:
        return None
    return told | {
        "o": "committed",
        "rules": rules,
        "feature": item["feature"],
        "status": "applied",
        "reasons": [],
        "quantity": item["quantity"],
        "funded": told["amount"],
    }


def _subject(rules: UUID, item: Document) -> dict[str, Any]:
    return {
        "realm": item["realm"],
        "principal": item["principal"],
        "user": item["user"],
        "bound": item["bound"],
        "feature": item["feature"],
        "rules": rules,
        "lease": item["lease"],
        "quantity": str(item["quantity"]),
        "key": item["key"],
        "hash": item["hash"],
        "id": item["id"],
        "operation": item["operation"],
        "labels": orjson.dumps(item["labels"]).decode(),
        "trace": item["trace"],
        "entry": item["entry"],
    }
