"""`/contracts/{contract_id}/terms`."""

from typing import Any, Literal, cast

from billing.api.context import AccountView
from billing.models import ContractTerm
from billing.selectors.contracts import contract_of, list_terms
from billing.services.contract_terms import add_contract_term
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.pagination import items, page_limit, paginate
from config.api.wire import (
    Code,
    Instant,
    ListQuery,
    QueryFlag,
    WireModel,
    WriteModel,
)

Kind = Literal["pricing", "e2r_param"]


class TermOut(WireModel):
    """A version of a term as the wire shows it."""

    contract_id: str
    kind: Kind
    term_key: str
    effective_at: Instant
    value_json: Any
    recorded_at: Instant

    @classmethod
    def of(cls, term: ContractTerm) -> "TermOut":
        """Return the wire form of a version."""
        return cls(
            contract_id=str(term.contract_id),
            kind=cast("Kind", term.kind),
            term_key=term.term_key,
            effective_at=term.effective_at,
            value_json=term.value_json,
            recorded_at=term.recorded_at,
        )


class TermPage(WireModel):
    """A page of versions."""

    items: list[TermOut]
    next_cursor: str | None = None


class TermUpsert(WriteModel):
    """A version of a term. Of `pricing`, the key is a meter's code."""

    kind: Kind = "e2r_param"
    term_key: Code
    effective_at: Instant
    value_json: Any


class TermQuery(ListQuery):
    """Filters of the term list.

    `as_of` keeps versions effective by then, `known_at` those recorded by then, and
    `latest` of these the last one of each kind and key.
    """

    term_key: list[Code] | None = None
    kind: Kind | None = None
    as_of: Instant | None = None
    known_at: Instant | None = None
    latest: QueryFlag = False


class ContractTerms(AccountView):
    """`/contracts/{contract_id}/terms`."""

    @operation("list_contract_terms", query=TermQuery, answer=TermPage)
    def get(self, call: Call, contract_id: str, query: TermQuery) -> Answer:
        """List the versions of a contract's terms."""
        page = paginate(
            list_terms(
                contract_of(call.account, contract_id),
                **query.given("limit", "cursor"),
            ),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=f"{call.list_scope}|{call.account.pk}",
        )
        return Answer(items(page, TermOut.of))

    @operation(
        "upsert_contract_term",
        body=TermUpsert,
        answer=TermOut,
        statuses=(201, 200),
        of_account=True,
    )
    def post(self, call: Call, contract_id: str, body: TermUpsert) -> Answer:
        """Add a version of a term; the same one again changes nothing."""
        term, created = add_contract_term(
            contract=contract_of(call.account, contract_id),
            kind=body.kind,
            term_key=body.term_key,
            effective_at=body.effective_at,
            value=body.value_json,
            at=call.at,
            by=call.by,
        )
        return Answer(TermOut.of(term), status=201 if created else 200)
