"""Which policies govern a feature, and in which windows. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from config.kernel.windows import EPOCH, fixed_window
from gating.facts import CounterKey, Enforcement, SubjectScope

WILDCARD = "*"
PolicyKind = Literal["rate", "quota", "seats"]


@dataclass(frozen=True, slots=True)
class PolicyFact:
    """A policy of an active bundle, with the metadata that behavior reads applied.

    `feature_code` is the feature it targets, or `*`; `counter_key` names its counter;
    `limit` None is unlimited; `version` is the instant of its last change.
    """

    policy_id: UUID
    name: str
    kind: PolicyKind
    scope: SubjectScope
    feature_code: str
    counter_key: str
    unit: str
    window_seconds: int
    limit: int | None
    enforcement: Enforcement
    version: datetime


def target_of(feature_code: str, metadata: Mapping[str, Any]) -> str:
    """Return the feature a policy targets: metadata outranks the policy's own column.

    `metadata.feature_code`, then `metadata.params.feature_code`, then the column.
    """
    named = _named(metadata, "feature_code")
    return named.lower() if named else feature_code


def counter_key_of(policy_id: UUID, metadata: Mapping[str, Any]) -> str:
    """Return the policy's counter: `metadata.counter_key`, params, or its own."""
    return _named(metadata, "counter_key") or f"policy:{policy_id}"


def _named(metadata: Mapping[str, Any], key: str) -> str | None:
    params = metadata.get("params")
    for place in (metadata, params if isinstance(params, Mapping) else {}):
        name = place.get(key)
        if isinstance(name, str) and name.strip():
            return name.strip()
    return None


def governing(
    policies: Iterable[PolicyFact], feature_code: str
) -> Sequence[PolicyFact]:
    """Return the policies that govern a feature.

    A wildcard policy governs only where no policy of the same kind and subject scope
    names the feature.
    """
    known = [p for p in policies if p.feature_code in {feature_code, WILDCARD}]
    specific = {(p.kind, p.scope) for p in known if p.feature_code == feature_code}
    return [
        p
        for p in known
        if p.feature_code == feature_code or (p.kind, p.scope) not in specific
    ]


def counter_of(
    policy: PolicyFact,
    *,
    feature_code: str,
    account_id: UUID,
    user_id: UUID,
    at: datetime,
) -> CounterKey:
    """Return the counter of a quota or rate policy in the window that contains `at`.

    Windows are aligned to the Unix epoch. A wildcard policy counts each feature by
    itself.
    """
    window = fixed_window(at, policy.window_seconds)
    if policy.kind == "seats" or window.end is None:
        raise AssertionError(f"policy {policy.policy_id} has no countable window")
    return CounterKey(
        kind=policy.kind,
        scope=policy.scope,
        subject_id=user_id if policy.scope == "user" else account_id,
        feature_code=feature_code,
        key=policy.counter_key,
        window_start=window.start,
        window_end=window.end,
    )


def seats_window(policy: PolicyFact, at: datetime) -> tuple[datetime, datetime | None]:
    """Return the window in which a seat is taken; without one, seats are kept."""
    if policy.window_seconds == 0:
        return EPOCH, None
    window = fixed_window(at, policy.window_seconds)
    return window.start, window.end
