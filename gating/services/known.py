"""What the gate's last answer told of a user and feature, kept in this process.

Never trusted: the database compares it with what governs now, and where that has moved
on, decides the long way and tells again.
"""

from dataclasses import dataclass
from uuid import UUID

from gating.models import RuleSet
from gating.plain import Windows
from gating.selectors.rules import stored_rules
from gating.services.functions import Document

MOST = 65_536
"""Users and features of which something is kept; then all is forgotten."""

Names = tuple[str, str, str, str]
"""Realm, principal, user and feature, as callers name them."""


@dataclass(slots=True)
class Known:
    """The ids behind the names. `windows` are the last ones that were resolved."""

    account_id: UUID
    user_id: UUID
    rule_set_id: UUID
    windows: Windows | None = None


_known: dict[Names, Known] = {}


def names_of(item: Document) -> Names:
    """Return whom and what an item of the gate's functions is for."""
    return item["realm"], item["principal"], item["user"], item["feature"]


def known_of(item: Document) -> Known | None:
    """Return what is known of an item's user and feature; its rules are stored."""
    names = names_of(item)
    known = _known.get(names)
    if known is None:
        return None
    try:
        stored_rules(known.rule_set_id)
    except RuleSet.DoesNotExist:
        # Learned in a transaction that was rolled back.
        _known.pop(names, None)
        return None
    return known


def learn(item: Document, answer: Document) -> None:
    """Keep what an answer told, where it told which rules governed."""
    if "rules" not in answer or "account" not in answer:
        return
    names, rules = names_of(item), UUID(answer["rules"])
    known = _known.get(names)
    if known is not None and known.rule_set_id == rules:
        return
    if len(_known) >= MOST:
        _known.clear()
    _known[names] = Known(UUID(answer["account"]), UUID(answer["user"]), rules)
