"""Authorize's items, admitted in one stride where that is plain, decided else."""

from collections.abc import Hashable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson

from config.kernel.money import INT64_MAX
from gating.plain import Plain, Windows, plain_rules
from gating.selectors.rules import stored_rules
from gating.services.functions import Document, gate_authorize
from gating.services.known import learn, likely_rules, names_of
from gating.services.strides import Admitted, gate_admit, gate_admit_many


def authorize_items(
    items: Sequence[Document], *, at: datetime, version: int | None = None
) -> list[Document]:
    """Return what `gate_authorize` answers to the items at `at`.

    A denial that `gate_admit` found has no `reason`. Refuses as `gate_authorize` does.
    """
    likely = _likely(items[0]) if items else None
    if likely is not None:
        answers = _admitted(*likely, items, at=at, version=version)
        if answers is not None:
            return answers
    answers = gate_authorize(items, at=at, version=version)
    for item, answer in zip(items, answers, strict=True):
        learn(item, answer)
    return answers


@lru_cache(maxsize=4096)
def _plain(rule_set_id: UUID) -> Plain | None:
    return plain_rules(stored_rules(rule_set_id))


def _likely(item: Document) -> tuple[UUID, Plain] | None:
    """Return the rules that likely govern an item, by their id; None if not plain."""
    rule_set_id = likely_rules(item)
    plain = _plain(rule_set_id) if rule_set_id else None
    return None if rule_set_id is None or plain is None else (rule_set_id, plain)


def _admitted(
    rule_set_id: UUID,
    plain: Plain,
    items: Sequence[Document],
    *,
    at: datetime,
    version: int | None,
) -> list[Document] | None:
    """Return the answers of `gate_admit`; None where it, or an item, is not plain."""
    if not _are_plain(items, _family(plain)):
        return None
    held = [item["estimate"] or 1 for item in items]
    wallets = [plain.wallet_xusd(each) for each in held]
    total, purse = sum(held), sum([wallet or 1 for wallet in wallets])
    if max(total, purse) > INT64_MAX:
        return None
    told = gate_admit(
        {
            **_subject(items[0]),
            **_governing(items[0], rule_set_id, plain, plain.windows(at)),
            **_first(items[0]),
            "needs": plain.needs(total, len(items)),
            "count": str(len(items)),
            "held": str(total),
            "wallet": str(sum(wallets)),
            "purse": str(purse),
            "items": _written(zip(items, held, wallets, strict=True), _KEPT)
            if len(items) > 1
            else None,
            "version": None if version is None else str(version),
        },
        at=at,
    )
    return None if told is None else _answers(rule_set_id, plain, told, held, wallets)


def alike(item: Document) -> Hashable | None:
    """Return what items share that one call can admit; None for one on its own."""
    likely = _likely(item)
    if likely is None:
        return None
    rule_set_id, plain = likely
    if not _are_plain([item], _family(plain)):
        return None
    return item["realm"], item["feature"], item["bound"], rule_set_id


def admit_many(
    items: Sequence[Document], *, at: datetime, version: int | None = None
) -> list[Document | None]:
    """Return what `authorize_items` answers to items that are `alike`, one per user.

    None for one that is to be asked for by itself.
    """
    answers: list[Document | None] = [None] * len(items)
    likely = _likely(items[0])
    if likely is None:
        return answers
    rule_set_id, plain = likely
    sent = []
    for place, item in enumerate(items):
        held = item["estimate"] or 1
        wallet = plain.wallet_xusd(held)
        # Another answer may have changed which rules are likely since they were alike.
        if max(held, wallet) <= INT64_MAX and _are_plain([item], _family(plain)):
            sent.append((place, item, held, wallet))
    if not sent:
        return answers
    told = gate_admit_many(
        {
            **_governing(items[0], rule_set_id, plain, plain.windows(at)),
            "items": _written([each[1:] for each in sent], (*_NAMES, *_KEPT)),
            "version": None if version is None else str(version),
        },
        at=at,
    )
    for number, (place, _, held, wallet) in enumerate(sent):
        if number in told:
            (answers[place],) = _answers(
                rule_set_id, plain, told[number], [held], [wallet]
            )
    return answers


def _family(plain: Plain) -> str:
    return plain.rules.feature.feature_family_code


def _first(item: Document) -> dict[str, Any]:
    estimate = item["estimate"]
    return {
        "key": item["key"],
        "hash": item["hash"],
        "lease": item["lease"],
        "id": item["id"],
        "labels": orjson.dumps(item["labels"]).decode() if item["labels"] else "{}",
        "trace": item["trace"],
        "estimate": None if estimate is None else str(estimate),
    }


def _are_plain(items: Sequence[Document], family: str) -> bool:
    names = names_of(items[0])
    for item in items:
        if (
            item["budget"] is not None
            or item["estimate"] == 0
            or item["family"] not in {None, family}
            or item["bound"] != items[0]["bound"]
            or names_of(item) != names
        ):
            return False
    if len(items) == 1:
        return True
    leases = [item["lease"] for item in items if item["lease"] is not None]
    keys = {item["key"] for item in items}
    return len(keys) == len(items) and len(set(leases)) == len(leases)


def _subject(item: Document) -> dict[str, Any]:
    return {"principal": item["principal"], "business_user": item["user"]}


def _governing(
    item: Document, rule_set_id: UUID, plain: Plain, windows: Windows
) -> dict[str, Any]:
    rules = plain.rules
    return {
        "realm": item["realm"],
        "bound": item["bound"],
        "feature": item["feature"],
        "rules": rule_set_id,
        "family": _family(plain),
        "mode": rules.billing_mode,
        "zero_cost": rules.zero_cost,
        "policy": rules.policies[0].policy_id,
        "own": plain.own,
        "tails": windows.tails,
        "starts": windows.starts,
        "ends": windows.ends,
        "limits": plain.limits,
        "uses": plain.uses,
        "reserves": plain.reserves_text,
        "quota_limits": plain.quota_limits,
        "quota_held": plain.quota_held,
        "pays": plain.pays,
    }


_NAMES = ("principal", "user")
_KEPT = ("key", "hash", "lease", "id", "labels", "trace", "estimate")


def _written(items: Iterable[tuple[Document, int, int]], kept: Sequence[str]) -> str:
    """Return items as JSON: what is kept of each, and the quantity and money held."""
    return orjson.dumps(
        [
            {name: item[name] for name in kept} | {"held": held, "wallet": wallet}
            for item, held, wallet in items
        ]
    ).decode()


def _answers(
    rule_set_id: UUID,
    plain: Plain,
    told: Admitted,
    held: Sequence[int],
    wallets: Sequence[int],
) -> list[Document]:
    answers, held_before, spoken = [], 0, 0
    for place, (each, wallet) in enumerate(zip(held, wallets, strict=True)):
        first, second = plain.seen(told.seen, place, held_before)
        answers.append(
            {
                "o": "admitted" if told.fits else "denied",
                "reason": None,
                "account": told.account_id,
                "user": told.user_id,
                "rules": rule_set_id,
                "first": first,
                "second": second,
                "available": told.available_xusd - spoken,
            }
        )
        held_before += each
        spoken += wallet
    return answers
