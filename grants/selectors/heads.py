"""Heads: the last seal of each ledger account, to be kept outside the database.

Whoever can write to every table can make all entries and their seals anew, so that
they fit. A head that was told elsewhere before cannot be made anew: `lost_heads`
compares it with what the database says by now.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from uuid import UUID

from django.db import connection

from config.kernel.errors import Invalid
from config.kernel.money import parse_posint
from grants.selectors.proof import Finding

AT_ONCE = 5_000
RULE = "seal_head_is_in_its_chain"

_HEADS = """
SELECT a.id, a.realm_id, s.seq, s.hash, s.sealed_at FROM (
    SELECT id, realm_id, sealed_count FROM ledger_accounts
    WHERE id > %s ORDER BY id LIMIT %s
) a LEFT JOIN ledger_seals s
    ON s.realm_id = a.realm_id AND s.ledger_account_id = a.id
    AND s.seq = a.sealed_count
ORDER BY a.id
"""

_FOUND = """
SELECT s.hash, a.user_id
FROM unnest(%s::text[], %s::uuid[], %s::bigint[])
    WITH ORDINALITY AS head(realm_id, ledger_account_id, seq, place)
LEFT JOIN ledger_accounts a
    ON a.realm_id = head.realm_id AND a.id = head.ledger_account_id
LEFT JOIN ledger_seals s
    ON s.realm_id = a.realm_id AND s.ledger_account_id = a.id AND s.seq = head.seq
ORDER BY head.place
"""


@dataclass(frozen=True, slots=True)
class Head:
    """The last seal of a ledger account: it stands for all entries up to `seq`."""

    realm_id: str
    ledger_account_id: UUID
    seq: int
    hash: bytes

    def facts(self) -> dict[str, str | int]:
        """Return it as it is told outside, by the log and by `seal_heads`."""
        return {
            "realm": self.realm_id,
            "ledger_account": str(self.ledger_account_id),
            "seq": self.seq,
            "hash": self.hash.hex(),
        }


def heads(*, since: datetime | None = None) -> Iterator[Head]:
    """Yield the last seal of each ledger account.

    With `since` (aware UTC), of those that were sealed from then on.
    """
    after = UUID(int=0)
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_HEADS, [after, AT_ONCE])
            found = cursor.fetchall()
        for account_id, realm_id, seq, sealed, sealed_at in found:
            if seq is not None and (since is None or sealed_at >= since):
                yield Head(realm_id, account_id, seq, bytes(sealed))
        if len(found) < AT_ONCE:
            return
        after = found[-1][0]


def told_heads(lines: Iterable[str]) -> Iterator[Head]:
    """Yield the heads that lines of JSON tell, as `Head.facts` writes them.

    Whatever stands before the JSON, further keys and lines of anything else are passed
    over, so that a whole log may be read. Refuses (`Invalid`) a line that names a
    ledger account and a hash, and is no head.
    """
    for number, line in enumerate(lines, start=1):
        if '"ledger_account"' in line and '"hash"' in line:
            yield _told(line[line.find("{") :], number)


def _told(text: str, number: int) -> Head:
    try:
        told = json.loads(text)
        return Head(
            realm_id=str(told["realm"]),
            ledger_account_id=UUID(told["ledger_account"]),
            seq=parse_posint(told["seq"], "seq"),
            hash=bytes.fromhex(told["hash"]),
        )
    except (Invalid, ValueError, TypeError, KeyError, AttributeError):
        raise Invalid(f"Line {number} is no head of a ledger account.") from None


def lost_heads(told: Iterable[Head]) -> Iterator[Finding]:
    """Yield what the database does not contain by now of heads that were told before.

    Whether the entries fit their seals is what `findings` looks at.
    """
    remaining = iter(told)
    while some := list(islice(remaining, AT_ONCE)):
        with connection.cursor() as cursor:
            cursor.execute(
                _FOUND,
                [
                    [head.realm_id for head in some],
                    [head.ledger_account_id for head in some],
                    [head.seq for head in some],
                ],
            )
            found = cursor.fetchall()
        for head, (sealed, user_id) in zip(some, found, strict=True):
            if sealed is None or bytes(sealed) != head.hash:
                yield _finding(head, sealed, user_id)


def _finding(head: Head, sealed: bytes | None, user_id: UUID | None) -> Finding:
    is_now = "there is no such seal"
    if sealed is not None:
        is_now = f"its seal is {bytes(sealed).hex()}"
    message = f"entry {head.seq} was sealed as {head.hash.hex()}; {is_now}"
    return Finding(RULE, head.realm_id, user_id, str(head.ledger_account_id), message)
