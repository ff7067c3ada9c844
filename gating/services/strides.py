"""Calling the functions that do at one stride what plainly fits, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from gating.options import options
from gating.services.functions import Document, prepared

# What the one-stride functions take: {name: type}.
_USER = {"principal": "text", "business_user": "text"}
_RULES = {"bound": "boolean", "feature": "text", "rules": "uuid"}
_METER = {
    "meter": "text", "unit": "text", "price": "bigint", "per": "bigint",
    "cost": "bigint", "cost_per": "bigint", "rate": "text", "cost_rate": "text",
}  # fmt: skip
_WHOSE = {"realm": "text"} | _USER | _RULES
_POLICIES = {
    "family": "text", "mode": "text", "zero_cost": "boolean", "policy": "uuid",
    "own": "boolean[]", "tails": "text[]", "starts": "timestamptz[]",
    "ends": "timestamptz[]", "limits": "bigint[]", "uses": "bigint[]",
    "reserves": "boolean[]", "quota_limits": "bigint[]", "quota_held": "boolean[]",
    "pays": "boolean",
}  # fmt: skip
_WHEN = {"at": "timestamptz", "grace": "interval", "version": "bigint"}
_ADMITTING = _WHEN | {"ttl": "interval", "alone": "boolean"}


def _call(function: str, kinds: Mapping[str, str]) -> str:
    """Return the statement that calls a function with parameters of types, by name."""
    given = ", ".join(f"p_{name} => %({name})s::{kind}" for name, kind in kinds.items())
    return f"SELECT {function}({given})::text"


_ADMIT = _call("gate_admit", _WHOSE | _POLICIES | _ADMITTING | {
    "needs": "bigint[]", "count": "bigint", "held": "bigint", "wallet": "bigint",
    "purse": "bigint", "key": "text", "hash": "text", "lease": "text", "id": "uuid",
    "labels": "jsonb", "trace": "text", "estimate": "bigint", "items": "jsonb",
})  # fmt: skip
_ADMIT_MANY = _call(
    "gate_admit_many",
    {"realm": "text", "items": "jsonb"} | _RULES | _POLICIES | _ADMITTING,
)
_CLOSE = _call("gate_close", _WHOSE | _METER | {
    "lease": "text", "quantity": "bigint", "used": "bigint", "key": "text",
    "hash": "text", "id": "uuid", "operation": "text", "labels": "jsonb",
    "trace": "text", "entry": "uuid", "use": "uuid", "etag": "text",
} | _WHEN)  # fmt: skip
_CLOSE_ALL = _call("gate_close_all", _WHOSE | _METER | {"items": "jsonb"} | _WHEN)
_CLOSE_MANY = _call("gate_close_many", _RULES | _METER | _WHEN | {
    "realm": "text", "items": "jsonb", "alone": "boolean",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Admitted:
    """What `gate_admit` answered: whether all fits, of whom, and what was seen.

    `seen` is what was used of each policy, then what was reserved of each.
    """

    fits: bool
    account_id: UUID
    user_id: UUID
    available_xusd: int
    seen: list[int]


def gate_admit(arguments: Mapping[str, Any], *, at: datetime) -> Admitted | None:
    """Return what `gating/sql/admit.sql` answers at `at`; None where it is not plain.

    `arguments` are those of the function by name, but for the deployment's.
    """
    told: str | None = prepared(_ADMIT, _admitting(arguments, at))
    return None if told is None else _admitted(told)


def gate_admit_many(
    arguments: Mapping[str, Any], *, at: datetime
) -> dict[int, Admitted]:
    """Return what `gating/sql/admit_many.sql` answers at `at`, by an item's place.

    `arguments` are those of the function by name, but for the deployment's. An item
    that is not in the answer is to be asked for by itself.
    """
    told: str | None = prepared(_ADMIT_MANY, _admitting(arguments, at))
    answers = [each.partition(",") for each in told.split(";")] if told else []
    return {int(place): _admitted(answer) for place, _, answer in answers}


def _admitting(arguments: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    return {
        **arguments,
        "at": at,
        "ttl": options().lease_ttl,
        "grace": options().lease_grace,
        "alone": not connection.in_atomic_block,
    }


def _admitted(told: str) -> Admitted:
    outcome, account, user, available, *seen = told.split(",")
    return Admitted(
        fits=outcome == "0",
        account_id=UUID(account),
        user_id=UUID(user),
        available_xusd=int(available),
        seen=[int(number) for number in seen],
    )


def gate_close(arguments: Mapping[str, Any], *, at: datetime) -> Document | None:
    """Return what `gating/sql/close.sql` answers at `at`; None where it is not plain.

    `arguments` are those of the function by name, but for the deployment's.
    """
    told: Document | None = _closed(_CLOSE, arguments, at)
    return told


def gate_close_all(
    arguments: Mapping[str, Any], *, at: datetime
) -> list[Document] | None:
    """Return what `gating/sql/close_all.sql` answers, likewise: one for each item."""
    told: list[Document] | None = _closed(_CLOSE_ALL, arguments, at)
    return told


def gate_close_many(
    arguments: Mapping[str, Any], *, at: datetime
) -> dict[int, Document]:
    """Return what `gating/sql/close_many.sql` answers, likewise, by an item's place.

    An item that is not in the answer is to be committed by itself.
    """
    given = {**arguments, "alone": not connection.in_atomic_block}
    told: list[Document] | None = _closed(_CLOSE_MANY, given, at)
    return {answer.pop("place"): answer for answer in told or []}


def _closed(statement: str, arguments: Mapping[str, Any], at: datetime) -> Any:
    grace = options().lease_grace
    told: str | None = prepared(statement, {**arguments, "at": at, "grace": grace})
    return None if told is None else orjson.loads(told)
