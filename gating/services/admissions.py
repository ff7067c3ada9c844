"""What authorize is asked, and what it answers, now or again."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from config.kernel.errors import Conflict
from config.kernel.windows import format_instant, parse_instant
from gating.answers import Admission, admission_data, admission_hints
from gating.evidence import read_budget
from gating.facts import Ask, Facts
from gating.options import options
from gating.rules import Rules, Seen, facts_of
from gating.selectors.rules import stored_rules
from gating.services.functions import Document


class KeyReused(Conflict):
    """The idempotency key stands for another request of the user (409)."""

    default_code = "WRITE.INVALID_PAYLOAD"

    def __init__(self) -> None:
        super().__init__(
            "idempotency conflict: this Idempotency-Key was used with another body.",
            field="Idempotency-Key",
            error_type="conflict",
        )


@dataclass(frozen=True, slots=True)
class AuthorizeRequest:
    """What authorize is asked: the decision's part, and what is only kept.

    `reference` is the caller's own name for the lease, None to have one made.
    """

    ask: Ask
    reference: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> bytes:
        """Return what makes two requests with one key the same request."""
        ask = self.ask
        return digest_of(
            [
                "authorize",
                self.reference,
                ask.feature_code,
                ask.feature_family_code,
                None if ask.estimate_minor is None else str(ask.estimate_minor),
                ask.budget,
                dict(self.labels),
            ]
        )


def as_uuid(value: UUID | str) -> UUID:
    """Return an id of an answer: known already, or as its text."""
    return value if isinstance(value, UUID) else UUID(value)


def digest_of(document: Any) -> bytes:
    """Return the SHA-256 of a JSON document, whatever the order of its keys."""
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).digest()


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate's function told of one item: the rules, and what it saw."""

    rules: Rules
    seen: Seen
    account_id: UUID
    user_id: UUID
    rule_set_id: UUID

    @classmethod
    def told(cls, answer: Document) -> "Decision":
        """Return the decision of an answer."""
        rule_set_id = as_uuid(answer["rules"])
        pairs = zip(answer["first"], answer["second"], strict=True)
        return cls(
            rules=stored_rules(rule_set_id),
            seen=Seen(
                tuple(pairs), answer["available"], read_budget(answer.get("budget"))
            ),
            account_id=as_uuid(answer["account"]),
            user_id=as_uuid(answer["user"]),
            rule_set_id=rule_set_id,
        )

    def facts(self, at: datetime) -> Facts:
        """Return what was decided on at `at`."""
        return facts_of(
            self.rules,
            self.seen,
            account_id=self.account_id,
            user_id=self.user_id,
            at=at,
        )

    def admission(
        self, ask: Ask, *, at: datetime, before: Document | None = None
    ) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
        """Return data and hints of an admission at `at`, after what stands `before`."""
        data = {
            **(before or {}),
            **admission_data(self.rules, at, self.seen.budget),
        }
        hints = admission_hints(
            ask,
            self.rules,
            self.seen,
            account_id=self.account_id,
            user_id=self.user_id,
            at=at,
        )
        return data, hints


def admitted(
    answer: Document, request: AuthorizeRequest, lease_id: str, *, at: datetime
) -> Admission:
    """Return the answer to an admission of `at`, under the lease of that id."""
    lease = request.reference or f"lease.{lease_id}"
    data, hints = Decision.told(answer).admission(
        request.ask, at=at, before={"lease": lease, "decision_id": lease_id}
    )
    data["expires_at"] = format_instant(at + options().lease_ttl)
    return Admission(data, hints)


def replayed(answer: Document, request: AuthorizeRequest) -> Admission:
    """Return the answer that was given to the same request before."""
    data, hints = Decision.told(answer).admission(
        request.ask,
        at=parse_instant(answer["at"]),
        before={"lease": answer["lease"], "decision_id": answer["id"]},
    )
    data["expires_at"] = format_instant(parse_instant(answer["expires"]))
    return Admission(data, hints, replayed=True, trace_id=answer["trace"])
