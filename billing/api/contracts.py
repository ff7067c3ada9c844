"""`/contracts`: what is agreed with the account that the headers name."""

from datetime import datetime
from typing import Literal, cast

from billing.api.changes import given_changes
from billing.api.context import AccountView
from billing.models import BillingContract
from billing.selectors.contracts import contract_of, list_contracts
from billing.services.contracts import change_contract, upsert_contract
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.pagination import items, page_limit, paginate
from config.api.wire import (
    Instant,
    JsonObject,
    ListQuery,
    Name,
    WireModel,
    WriteModel,
)

Status = Literal["active", "disabled"]
NULLABLE = ("name", "window_end")


class ContractOut(WireModel):
    """A contract as the wire shows it; `window_end` null: it has no end."""

    contract_id: str
    billing_account_id: str
    status: Status
    effective_at: Instant
    window_end: Instant | None
    name: str | None
    metadata: JsonObject
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, contract: BillingContract) -> "ContractOut":
        """Return the wire form of a contract."""
        return cls(
            contract_id=str(contract.pk),
            billing_account_id=str(contract.account_id),
            status=cast("Status", contract.status),
            effective_at=contract.window_start,
            window_end=contract.window_end,
            name=contract.name,
            metadata=contract.metadata,
            created_at=contract.created_at,
            updated_at=contract.updated_at,
        )


class ContractPage(WireModel):
    """A page of contracts."""

    items: list[ContractOut]
    next_cursor: str | None = None


class ContractChange(WriteModel):
    """The fields of a contract to change; null removes a name, or the end."""

    status: Status | None = None
    name: Name | None = None
    metadata: JsonObject | None = None
    window_end: Instant | None = None


class ContractUpsert(WriteModel):
    """A contract to create, or to overwrite by the instant it starts at."""

    effective_at: Instant
    status: Status = "active"
    name: Name | None = None
    metadata: JsonObject = {}
    window_end: Instant | None = None


class ContractQuery(ListQuery):
    """Filters of the contract list."""

    status: list[Status] | None = None


class Contracts(AccountView):
    """`/contracts`."""

    @operation("list_billing_contracts", query=ContractQuery, answer=ContractPage)
    def get(self, call: Call, query: ContractQuery) -> Answer:
        """List the account's contracts."""
        page = paginate(
            list_contracts(call.account, status=query.status),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=f"{call.list_scope}|{call.account.pk}",
        )
        return Answer(items(page, ContractOut.of))

    @operation(
        "upsert_billing_contract",
        body=ContractUpsert,
        answer=ContractOut,
        statuses=(201, 200),
        of_account=True,
    )
    def post(self, call: Call, body: ContractUpsert) -> Answer:
        """Create the contract that starts at an instant, or overwrite it."""
        contract, created = upsert_contract(
            account=call.account,
            effective_at=body.effective_at,
            values=body.given("effective_at"),
            at=call.at,
            by=call.by,
        )
        return Answer(ContractOut.of(contract), status=201 if created else 200)


class ContractDetail(AccountView):
    """`/contracts/{contract_id}`."""

    @operation("get_billing_contract", answer=ContractOut)
    def get(self, call: Call, contract_id: str) -> Answer:
        """Read a contract of the account."""
        return Answer(ContractOut.of(contract_of(call.account, contract_id)))

    @operation(
        "update_billing_contract",
        body=ContractChange,
        answer=ContractOut,
        of_account=True,
    )
    def post(self, call: Call, contract_id: str, body: ContractChange) -> Answer:
        """Change a contract of the account; what is left out stays."""
        contract = change_contract(
            contract=contract_of(call.account, contract_id),
            changes=given_changes(body, NULLABLE),
            at=call.at,
            by=call.by,
        )
        return Answer(ContractOut.of(contract))
