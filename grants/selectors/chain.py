"""The hash chain of a ledger account: what binds an entry to all before it."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from grants.models import LedgerEntry

START = bytes(32)
"""What the first entry of an account is bound to."""

FACTS = (
    "id",
    "realm_id",
    "account_id",
    "user_id",
    "ledger_account_id",
    "ledger_account__kind",
    "lot_id",
    "seq",
    "amount_xusd",
    "balance_xusd",
    "occurred_at",
    "posting_id",
    "posting__realm_id",
    "posting__account_id",
    "posting__user_id",
    "posting__reason",
    "posting__source_ref",
    "posting__idempotency_key",
    "posting__reverses_id",
    "posting__actor_kind",
    "posting__actor_id",
    "posting__operator",
    "posting__explanation",
    "posting__ticket_id",
    "posting__trace_id",
    "posting__effective_at",
    "posting__occurred_at",
)


def entry_facts(
    entries: QuerySet[LedgerEntry], *also: str
) -> "QuerySet[LedgerEntry, dict[str, Any]]":
    """Return what is sealed of entries: their own facts, and their posting's."""
    facts: QuerySet[LedgerEntry, dict[str, Any]] = entries.values(*FACTS, *also)
    return facts


def chained(previous: bytes, facts: Mapping[str, Any]) -> bytes:
    """Return the hash of an entry: SHA-256 of the one before, and of its facts.

    The facts are JSON with sorted keys and no spaces, instants in UTC to the
    microsecond.
    """
    told = {name: _plain(facts[name]) for name in FACTS}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(previous + text.encode()).digest()


def _plain(fact: Any) -> Any:
    if isinstance(fact, UUID):
        return str(fact)
    if isinstance(fact, datetime):
        return fact.astimezone(UTC).isoformat(timespec="microseconds")
    return fact
