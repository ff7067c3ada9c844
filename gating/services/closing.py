"""Commit's items, settled in one stride where that is plain, item by item else."""

from collections.abc import Hashable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson

from config.kernel.money import INT64_MAX
from gating.pricing import rate_identity
from gating.rules import MeterRule
from gating.selectors.rules import stored_rules
from gating.services.functions import Document, gate_commit
from gating.services.known import learn, likely_rules, names_of
from gating.services.strides import gate_close, gate_close_all, gate_close_many


def commit_items(
    items: Sequence[Document], *, at: datetime, version: int | None = None
) -> list[Document]:
    """Return what `gate_commit` answers to the items at `at`; refuses as it does."""
    if items and (rules := likely_rules(items[0])) is not None:
        closed = _closed if len(items) == 1 else _all_closed
        told = closed(rules, items, at=at, version=version)
        if told is not None:
            return [
                _answer(rules, item, numbers)
                for item, numbers in zip(items, told, strict=True)
            ]
    answers = gate_commit(items, at=at, version=version)
    for item, answer in zip(items, answers, strict=True):
        learn(item, answer)
    return answers


def alike(item: Document) -> Hashable | None:
    """Return what items share that one call can close; None for one on its own."""
    rules = likely_rules(item)
    meter = None if rules is None else _meter(rules, item)
    if meter is None:
        return None
    return item["realm"], item["feature"], item["bound"], rules, meter["meter"]


def close_many(
    items: Sequence[Document], *, at: datetime, version: int | None = None
) -> list[Document | None]:
    """Return what `commit_items` answers to items that are `alike`, one per user.

    None for one that is to be committed by itself.
    """
    rules = likely_rules(items[0])
    meter = None if rules is None else _meter(rules, items[0])
    if rules is None or meter is None:
        return [None] * len(items)
    told = gate_close_many(
        {
            **_governing(rules, items[0], version),
            **meter,
            "items": orjson.dumps(
                [
                    {"principal": item["principal"], "user": item["user"]} | _used(item)
                    for item in items
                ]
            ).decode(),
        },
        at=at,
    )
    return [
        _answer(rules, item, told[place]) if place in told else None
        for place, item in enumerate(items)
    ]


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
    rules: UUID, items: Sequence[Document], *, at: datetime, version: int | None
) -> list[Document] | None:
    """Return what `gate_close` told of the item; None where it is not plain."""
    (item,) = items
    meter = _meter(rules, item)
    if meter is None:
        return None
    used = _used(item)
    told = gate_close(
        {
            **_subject(rules, item, version),
            **meter,
            **used,
            "quantity": str(used["quantity"]),
            "used": str(used["used"]),
            "labels": orjson.dumps(used["labels"]).decode(),
        },
        at=at,
    )
    return None if told is None else [told]


def _all_closed(
    rules: UUID, items: Sequence[Document], *, at: datetime, version: int | None
) -> list[Document] | None:
    """Return what `gate_close_all` told; None where one of the items is not plain."""
    first = items[0]
    meter = _meter(rules, first)
    if meter is None or not _are_alike(items):
        return None
    used = [_used(item) for item in items]
    sums = [sum(each[name] for each in used) for name in ("quantity", "used")]
    if max(sums) > INT64_MAX:
        return None
    return gate_close_all(
        {
            **_subject(rules, first, version),
            **meter,
            "items": orjson.dumps(used).decode(),
        },
        at=at,
    )


def _used(item: Document) -> dict[str, Any]:
    """Return what was used of one meter under one lease, as the functions name it."""
    (use,) = item["uses"]
    kept = (
        "lease", "quantity", "key", "hash", "id", "operation", "labels", "trace",
        "entry",
    )  # fmt: skip
    mine = {name: item[name] for name in kept}
    return mine | {"used": use["quantity"], "use": use["id"], "etag": use["etag"]}


def _are_alike(items: Sequence[Document]) -> bool:
    """Return whether all are of one user, feature and meter, each of another lease."""
    first = items[0]
    names, meter = names_of(first), first["uses"][0]["meter"]
    leases = {item["lease"] for item in items}
    keys = {(item["operation"], item["key"]) for item in items}
    return (
        len(leases) == len(items)
        and len(keys) == len(items)
        and all(
            names_of(item) == names
            and item["bound"] == first["bound"]
            and len(item["uses"]) == 1
            and item["uses"][0]["meter"] == meter
            for item in items
        )
    )


def _meter(rules: UUID, item: Document) -> dict[str, Any] | None:
    """Return the one meter that the item uses, as the functions take it, if plain."""
    if len(item["uses"]) != 1:
        return None
    (use,) = item["uses"]
    return None if use["quantity"] > INT64_MAX else _meters(rules).get(use["meter"])


def _subject(rules: UUID, item: Document, version: int | None) -> dict[str, Any]:
    user = {"principal": item["principal"], "business_user": item["user"]}
    return user | _governing(rules, item, version)


def _governing(rules: UUID, item: Document, version: int | None) -> dict[str, Any]:
    return {
        "realm": item["realm"],
        "bound": item["bound"],
        "feature": item["feature"],
        "rules": rules,
        "version": None if version is None else str(version),
    }


def _answer(rules: UUID, item: Document, told: Document) -> Document:
    return told | {
        "o": "committed",
        "rules": rules,
        "feature": item["feature"],
        "status": "applied",
        "reasons": [],
        "quantity": item["quantity"],
        "funded": told["amount"],
    }
