"""What the gate's last answer told of a user and feature, kept in this process.

Never trusted: the database compares it with what governs now, and where that has moved
on, decides the long way and tells again.
"""

from uuid import UUID

from gating.models import RuleSet
from gating.selectors.rules import stored_rules
from gating.services.functions import Document

MOST = 65_536
"""Users and features of which something is kept; then all is forgotten."""

Names = tuple[str, str, str, str]
"""Realm, principal, user and feature, as callers name them."""


_known: dict[Names, UUID] = {}
_common: dict[tuple[str, str], UUID] = {}


def names_of(item: Document) -> Names:
    """Return whom and what an item of the gate's functions is for."""
    return item["realm"], item["principal"], item["user"], item["feature"]


def likely_rules(item: Document) -> UUID | None:
    """Return the id of the rule set that likely governs an item; it is stored.

    The one that governed its user and feature, else the one that last governed
    anybody's use of the feature: most users of a realm are on few plans.
    """
    names = names_of(item)
    common = item["realm"], item["feature"]
    rules = _known.get(names) or _common.get(common)
    if rules is None:
        return None
    try:
        stored_rules(rules)
    except RuleSet.DoesNotExist:
        # Learned in a transaction that was rolled back.
        _known.pop(names, None)
        _common.pop(common, None)
        return None
    return rules


def learn(item: Document, answer: Document) -> None:
    """Keep what an answer told, where it told which rules govern.

    A repeat tells those of its first answer.
    """
    if "rules" not in answer or answer["o"] == "replayed":
        return
    if len(_known) >= MOST:
        _known.clear()
        _common.clear()
    rules = UUID(answer["rules"])
    _known[names_of(item)] = _common[item["realm"], item["feature"]] = rules
