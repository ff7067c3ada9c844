"""What must be true of grants and ledgers, each as the query that finds what is not.

A query yields `(user, subject, what is wrong)` of some accounts of a realm
(`%(realm)s`, `%(accounts)s`). Each starts at the accounts' users, by whom there are
indexes.
"""

from collections.abc import Mapping
from typing import Final

WHO = """
WITH who AS (
    SELECT realm_id, account_id, id AS user_id FROM billing_users
    WHERE realm_id = %(realm)s AND account_id = ANY(%(accounts)s)
), ledgers AS (
    SELECT a.* FROM who
    JOIN ledger_accounts a ON a.realm_id = who.realm_id AND a.user_id = who.user_id
), lots AS (
    SELECT l.*,
        CASE WHEN l.kind = 'fallback' THEN 'outstanding'
            WHEN l.on_ledger THEN 'wallet' ELSE 'promotional' END AS holding
    FROM who JOIN grant_lots l
        ON l.realm_id = who.realm_id AND l.account_id = who.account_id
        AND l.user_id = who.user_id
), postings AS (
    SELECT p.* FROM who
    JOIN ledger_postings p ON p.realm_id = who.realm_id AND p.user_id = who.user_id
), entries AS (
    SELECT e.*, a.kind AS ledger_kind FROM ledgers a
    JOIN ledger_entries e ON e.realm_id = a.realm_id AND e.ledger_account_id = a.id
), allocations AS (
    SELECT c.* FROM who
    JOIN grant_allocations c ON c.realm_id = who.realm_id AND c.user_id = who.user_id
)
"""

_LOT_SUMS = """
SELECT l.user_id, l.id, format('{told}', l.{column}, coalesce(s.total, 0))
FROM lots l LEFT JOIN (
    SELECT lot_id, sum(amount_xusd) AS total FROM allocations {where} GROUP BY lot_id
) s ON s.lot_id = l.id
WHERE l.{column} <> coalesce(s.total, 0)
"""

_OWNER = "(c.realm_id, c.account_id, c.user_id)"


def _child(child: str, column: str, parent: str, subject: str) -> str:
    """Return the query of children that lie outside their parent's account."""
    return f"""
    SELECT c.user_id, c.{subject}, 'lies outside its {column}' FROM {child} c
    LEFT JOIN {parent} p ON p.id = c.{column}
        AND (p.realm_id, p.account_id, p.user_id) = {_OWNER}
    WHERE c.{column} IS NOT NULL AND p.id IS NULL
    """  # noqa: S608 - constant text.


_CHILDREN = (
    ("lots", "assignment_id", "grant_assignments"),
    ("lots", "carried_from_id", "grant_lots"),
    ("entries", "posting_id", "ledger_postings"),
    ("entries", "ledger_account_id", "ledger_accounts"),
    ("entries", "lot_id", "grant_lots"),
    ("allocations", "lot_id", "grant_lots"),
    ("allocations", "posting_id", "ledger_postings"),
    ("postings", "reverses_id", "ledger_postings"),
)
_USERS_OWN = ("ledgers", "postings", "allocations")

RULES: Final[Mapping[str, str]] = {
    "posting_sums_to_zero": """
        SELECT p.user_id, p.id, format('its %%s entries sum to %%s', s.n, s.total)
        FROM postings p CROSS JOIN LATERAL (
            SELECT coalesce(sum(e.amount_xusd), 0) AS total, count(*) AS n
            FROM ledger_entries e WHERE e.posting_id = p.id) s
        WHERE s.total <> 0 OR s.n < 2
    """,
    "ledger_account_is_its_entries": """
        SELECT a.user_id, a.id, format(
            '%%s: %%s in %%s entries; they are %%s and sum to %%s', a.kind,
            a.balance_xusd, a.entry_count, count(e.id), coalesce(sum(e.amount_xusd), 0))
        FROM ledgers a LEFT JOIN ledger_entries e
            ON e.realm_id = a.realm_id AND e.ledger_account_id = a.id
        GROUP BY a.user_id, a.id, a.kind, a.balance_xusd, a.entry_count
        HAVING a.balance_xusd <> coalesce(sum(e.amount_xusd), 0)
            OR a.entry_count <> count(e.id)
    """,
    "ledger_entry_continues_the_last": """
        SELECT user_id, id, format('entry %%s leads to %%s', seq, balance_xusd)
        FROM (
            SELECT e.*, row_number() OVER so_far AS place,
                sum(amount_xusd) OVER so_far AS total
            FROM entries e
            WINDOW so_far AS (PARTITION BY ledger_account_id ORDER BY seq)) e
        WHERE seq <> place OR balance_xusd <> total
    """,
    "user_ledger_sums_to_zero": """
        SELECT user_id, user_id, format('the accounts sum to %%s', sum(balance_xusd))
        FROM ledgers GROUP BY user_id HAVING sum(balance_xusd) <> 0
    """,
    "lot_stands_in_the_ledger": """
        SELECT l.user_id, l.id, format('%%s stand in the ledger, not %%s',
            coalesce(s.total, 0), l.expected)
        FROM (SELECT l.*, amount_xusd + paid_xusd - settled_xusd
            - CASE WHEN kind <> 'fallback' AND closure_kind <> 'none'
                THEN closed_remaining_xusd ELSE 0 END AS expected FROM lots l) l
        LEFT JOIN (
            SELECT lot_id, ledger_kind, sum(amount_xusd) AS total
            FROM entries GROUP BY lot_id, ledger_kind
        ) s ON s.lot_id = l.id AND s.ledger_kind = l.holding
        WHERE coalesce(s.total, 0) <> l.expected
    """,
    "lot_consumed_is_its_allocations": _LOT_SUMS.format(
        column="consumed_xusd",
        where="",
        told="%%s consumed; its allocations sum to %%s",
    ),
    "lot_settled_is_its_settled_allocations": _LOT_SUMS.format(
        column="settled_xusd",
        where="WHERE posting_id IS NOT NULL",
        told="%%s settled; its settled allocations sum to %%s",
    ),
    "lot_is_never_overdrawn": """
        SELECT user_id, id, format('%%s consumed and %%s held of %%s',
            consumed_xusd, reserved_xusd, amount_xusd)
        FROM lots WHERE least(amount_xusd, consumed_xusd, reserved_xusd) < 0
            OR kind <> 'fallback' AND status <> 'canceled'
                AND consumed_xusd::numeric + reserved_xusd > amount_xusd
    """,
    "posting_is_its_allocations": """
        SELECT p.user_id, p.id, format('takes %%s; its allocations sum to %%s',
            coalesce(e.total, 0), coalesce(c.total, 0))
        FROM (
            SELECT posting_id, lot_id, -sum(amount_xusd) AS total FROM entries
            WHERE amount_xusd < 0 GROUP BY posting_id, lot_id
        ) e FULL JOIN (
            SELECT posting_id, lot_id, sum(amount_xusd) AS total FROM allocations
            WHERE posting_id IS NOT NULL GROUP BY posting_id, lot_id
        ) c USING (posting_id, lot_id)
        JOIN postings p ON p.id = posting_id
        WHERE p.reason IN ('consumption', 'payment')
            AND coalesce(e.total, 0) <> coalesce(c.total, 0)
    """,
    "periods_of_an_assignment_do_not_overlap": """
        SELECT user_id, id, format('its period starts before %%s, when another ends',
            taken_to)
        FROM (
            SELECT user_id, id, coalesce(period_start, '-infinity') AS starts,
                max(coalesce(period_end, 'infinity')) OVER (
                    PARTITION BY assignment_id, alloc_seq
                    ORDER BY coalesce(period_start, '-infinity'), id
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ) AS taken_to
            FROM lots WHERE assignment_id IS NOT NULL AND carried_from_id IS NULL
        ) l
        WHERE starts < taken_to
    """,
    "row_lies_with_its_parents": " UNION ALL ".join(
        [
            *(
                _child(child, column, parent, "id")
                for child, column, parent in _CHILDREN
            ),
            *(
                f"""SELECT c.user_id, c.id, 'lies outside its account' FROM {child} c
                JOIN who USING (realm_id, user_id)
                WHERE c.account_id <> who.account_id"""  # noqa: S608 - constant text.
                for child in _USERS_OWN
            ),
            """SELECT l.user_id, l.id, 'is of another realm''s program' FROM lots l
            JOIN grant_programs p ON p.id = l.program_id
            WHERE p.realm_id <> l.realm_id""",
        ]
    ),
    "ledger_account_keeps_its_seals": """
        SELECT a.user_id, a.id, format('%%s entries were sealed; seals: %%s',
            a.sealed_count, coalesce(s.seals, 0))
        FROM ledgers a LEFT JOIN (
            SELECT s.ledger_account_id, count(*) AS seals FROM ledgers a
            JOIN ledger_seals s
                ON s.realm_id = a.realm_id AND s.ledger_account_id = a.id
            WHERE s.seq <= a.sealed_count GROUP BY 1
        ) s ON s.ledger_account_id = a.id
        WHERE coalesce(s.seals, 0) <> a.sealed_count
    """,
    "seal_lies_on_its_entry": """
        SELECT a.user_id, s.entry_id, format('seal %%s has no such entry', s.seq)
        FROM ledgers a JOIN ledger_seals s
            ON s.realm_id = a.realm_id AND s.ledger_account_id = a.id
        LEFT JOIN ledger_entries e ON e.id = s.entry_id
            AND (e.realm_id, e.ledger_account_id, e.seq)
                = (s.realm_id, s.ledger_account_id, s.seq)
        WHERE e.id IS NULL
    """,
}
