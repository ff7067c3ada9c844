"""Denials: how they are told, and how their evidence is kept."""

from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from config.kernel.errors import Refused
from config.kernel.ids import new_id
from gating.evidence import decision_document
from gating.facts import Ask, Facts
from gating.models import Denial as StoredDenial
from gating.services.functions import prepared
from gating.verdicts import Denial, Verdict

_RECORD = f"""
INSERT INTO {StoredDenial._meta.db_table} AS denial
    (id, realm_id, account_id, user_id, feature_code, reason, minute, count, status,
     code, sentence, evidence, first_at, last_at, trace_id)
VALUES (%(id)s, %(realm)s, %(account)s, %(user)s, %(feature)s, %(reason)s, %(minute)s,
        1, %(status)s, %(code)s, %(sentence)s, %(evidence)s::jsonb, %(at)s, %(at)s,
        %(trace)s)
ON CONFLICT (realm_id, account_id, feature_code, reason, minute)
DO UPDATE SET count = denial.count + 1,
              last_at = greatest(denial.last_at, excluded.last_at)
RETURNING id
"""  # noqa: S608 - the table name is ours.


# A crash may lose the last of a count; the decision, whose row it is, is durable.
_COUNT = f"""
WITH unhurried AS MATERIALIZED (
    SELECT CASE WHEN %(alone)s
        THEN set_config('synchronous_commit', 'off', true) END
)
UPDATE {StoredDenial._meta.db_table}
SET count = count + 1, last_at = greatest(last_at, %(at)s)
FROM unhurried
WHERE id = %(id)s
RETURNING id
"""  # noqa: S608 - the table name is ours.

MOST = 4096
"""Denials of the last minutes whose row is remembered; then all is forgotten."""

_rows: dict[tuple[UUID, str, str, datetime], UUID] = {}


class GateDenied(Refused):
    """The gate said no; the status is the denial's own."""

    def __init__(self, denial: Denial, ask: Ask, facts: Facts) -> None:
        feature = facts.feature
        meta = {
            "as_of": facts.at,
            "resource_type": "feature",
            "feature_code": ask.feature_code,
            "reason": denial.reason,
        }
        if feature is not None:
            meta["feature_family_code"] = feature.feature_family_code
        if denial.retry_after is not None:
            meta["retry_after"] = denial.retry_after
        super().__init__(
            denial.sentence,
            code=denial.code,
            hints=denial.hints,
            meta=meta,
            error_type=denial.error_type,
        )
        self.status = denial.status


def record_denial(
    realm_id: str,
    account_id: UUID,
    user_id: UUID,
    *,
    ask: Ask,
    facts: Facts,
    verdict: Verdict,
    at: datetime,
    trace_id: str,
) -> UUID:
    """Keep the evidence of a denial: the first of its minute in full, the rest counted.

    `at` (aware UTC) is when it was told; the facts may be of a past instant. Returns
    the id that the denial is explained by. One statement, after the transaction that
    decided: a denial changes nothing else, and holds no lock while it is written.
    """
    denial = verdict.denial
    if denial is None:
        raise AssertionError("an admission is no denial")
    # Codes that the realm does not have would be a row each.
    feature = ask.feature_code if facts.feature else ""
    minute = at.replace(second=0, microsecond=0)
    place = account_id, feature, denial.reason, minute
    known = _rows.get(place)
    alone = not connection.in_atomic_block
    if known and prepared(_COUNT, {"id": known, "at": at, "alone": alone}):
        return known
    whose = {"realm": realm_id, "account": account_id, "user": user_id}
    found = {"feature": feature, "minute": minute, "at": at, "trace": trace_id}
    stored_id: UUID = prepared(_RECORD, _row(ask, facts, verdict) | whose | found)
    if len(_rows) >= MOST:
        _rows.clear()
    _rows[place] = stored_id
    return stored_id


def _row(ask: Ask, facts: Facts, verdict: Verdict) -> dict[str, Any]:
    """Return a denial as it is stored in full, but for whose it is."""
    denial = verdict.denial
    if denial is None:
        raise AssertionError("an admission is no denial")
    evidence = decision_document(ask, facts, verdict)
    return {
        "id": new_id(),
        "reason": denial.reason,
        "status": denial.status,
        "code": denial.code,
        "sentence": denial.sentence,
        "evidence": orjson.dumps(evidence).decode(),
    }
