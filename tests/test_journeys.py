"""The official client, unchanged, against the running server."""

import asyncio
import inspect
from datetime import UTC, datetime, timedelta

import pytest
from vlunaai.bearer_client import BearerClient, BearerClientOptions
from vlunaai.core.auth.service_key import ServiceKeyCredentials
from vlunaai.core.client.http import RequestContext
from vlunaai.core.errors import VlunaAIError
from vlunaai.core.state import VlunaAIConfig
from vlunaai.generated import admin_models as admin
from vlunaai.generated import billing_mgt_models as wire
from vlunaai.service_client import ServiceClient, ServiceClientOptions

from tests.tools.server import running_server

SERVICE_OPERATIONS = 93
BEARER_OPERATIONS = 21


def operations_of(client):
    """Return the names of a client's operations."""
    return {
        name
        for name, member in inspect.getmembers(client, inspect.iscoroutinefunction)
        if not name.startswith("_") and name != "close"
    }


class Journey:
    """Calls a client's operations and notes which ones answered as their model says."""

    def __init__(self, client):
        self.client = client
        self.worked = set()

    async def __call__(self, operation, *args, **kwargs):
        answer = await getattr(self.client, operation)(*args, **kwargs)
        self.worked.add(operation)
        return getattr(answer, "data", answer)

    async def refused(self, operation, *args, **kwargs):
        """Return the refusal of a call that must be refused."""
        with pytest.raises(VlunaAIError) as caught:
            await getattr(self.client, operation)(*args, **kwargs)
        return caught.value


@pytest.fixture
def credentials(committed_realm, at, by):
    from config.tenancy.services.service_keys import create_service_key, secret_text

    key = create_service_key(realm=committed_realm, at=at, by=by)
    return committed_realm.pk, ServiceKeyCredentials(key.key_id, secret_text(key))


def test_official_client_runs_the_main_job(credentials, capsys):
    realm_id, key = credentials
    with running_server() as base:
        service, bearer = asyncio.run(drive(base, realm_id, key))

    assert len(operations_of(ServiceClient)) == SERVICE_OPERATIONS
    assert len(operations_of(BearerClient)) == BEARER_OPERATIONS
    assert service == WORKING_SERVICE
    assert bearer == WORKING_BEARER
    with capsys.disabled():
        print(
            f"\nofficial client: {len(service)} of {SERVICE_OPERATIONS} service and "
            f"{len(bearer)} of {BEARER_OPERATIONS} bearer operations worked"
        )


async def drive(base, realm_id, key):
    client = ServiceClient(
        ServiceClientOptions(
            config=VlunaAIConfig(realm_id=realm_id, base_url=f"{base}/mgt/v1"),
            service_key=key,
            error_mode="raise",
        )
    )
    call = Journey(client)
    acting = RequestContext(principal_id="acme", user_id="u-1")
    try:
        plan = await _catalog_and_plan(call)
        token = await call(
            "issue_platform_token", body={"principal_id": "acme", "user_id": "u-1"}
        )
        account_id = token.billing_account_id
        await _accounts(call, account_id)
        await _assignments(call, plan, account_id)
        await _gate(call, acting)
        await _contracts(call, acting)
        await _budgets(call, acting)
        await _grants(call, account_id)
        bearer = await _as_end_user(base, realm_id, token.access_token)
    finally:
        await client.close()
    return call.worked, bearer


async def _catalog_and_plan(call):
    family = await call(
        "upsert_feature_family", body={"feature_family_code": "chat", "name": "Chat"}
    )
    await call("list_feature_families", query={"q": "chat"})
    await call("get_feature_family", family.feature_family_id)
    await call(
        "update_feature_family", family.feature_family_id, body={"name": "Chat models"}
    )
    feature = await call(
        "upsert_feature",
        body={"feature_code": "chat.large", "feature_family_code": "chat"},
    )
    await call("list_features", query={"feature_family_code": "chat"})
    await call("get_feature", feature.feature_id)
    await call("update_feature", feature.feature_id, body={"name": "Large model"})
    price = {
        "unit_price_xusd": "3000",
        "unit_quantity_minor": "1000",
        "unit_cost_xusd": "1000",
        "cost_unit_quantity_minor": "1000",
    }
    meter = await call(
        "upsert_meter",
        body={"meter_code": "chat.large", "unit": "token", "meter_prices": price},
    )
    await call("list_meters", query={"feature_code": "chat.large"})
    await call("get_meter", meter.meter_id)
    await call("update_meter", meter.meter_id, body={"unit": "token"})
    plan = await call(
        "upsert_billing_plan",
        body={
            "plan_code": "pro",
            "name": "Pro",
            "kind": "base",
            "priority": 10,
            "metadata": {"billing_defaults": {"period": {"billing_mode": "prepaid"}}},
        },
    )
    await call("list_billing_plans", query={"kind": "base"})
    await call("get_billing_plan", plan.plan_id)
    await call("update_billing_plan", plan.plan_id, body={"name": "Professional"})
    rules = await call(
        "upsert_billing_plan_entitlements",
        plan.plan_id,
        body={
            "mode": "replace",
            "items": [{"feature_family_code": "chat", "effect": "allow"}],
        },
    )
    spare = await call(
        "upsert_billing_plan_entitlements",
        plan.plan_id,
        body={
            "mode": "append",
            "items": [{"feature_code": "chat.large", "effect": "allow"}],
        },
    )
    extra = next(rule for rule in spare.items if rule.feature_code)
    await call("delete_billing_plan_entitlement", plan.plan_id, extra.bpe_id)
    left = await call("list_billing_plan_entitlements", plan.plan_id)
    assert [rule.bpe_id for rule in left.items] == [rule.bpe_id for rule in rules.items]
    return plan


async def _accounts(call, account_id):
    await call("list_billing_accounts", query={"billing_principal_id": "acme"})
    await call("update_billing_account", account_id, body={"seat_limit": 3})
    seats = await call("get_billing_account_seat_summary", account_id)
    assert (seats.seat_limit, seats.active_user_count) == (3, 1)
    user = await call(
        "create_billing_user",
        account_id,
        body={"user_id": "u-2", "display_name": "Two"},
    )
    await call("get_billing_user", user.billing_user_id)
    await call(
        "update_billing_user", user.billing_user_id, body={"email": "two@acme.example"}
    )
    await call("disable_billing_user", user.billing_user_id)
    await call("restore_billing_user", user.billing_user_id)
    people = await call("list_billing_users", account_id)
    assert {person.user_id for person in people.items} == {"u-1", "u-2"}
    await call(
        "update_billing_account_billing_details",
        account_id,
        body={
            "billing_email": "pay@acme.example",
            "tax_ids": [{"type": "eu_vat", "value": "DE123456789"}],
        },
    )


async def _assignments(call, plan, account_id):
    start = datetime.now(UTC) - timedelta(days=1)
    body = {
        "billing_account_id": account_id,
        "assignment_scope": "account",
        "plan_id": plan.plan_id,
        "source_kind": "ops.manual",
        "source_ref": "contract-7",
        "window_start": start.isoformat(),
        "metadata": {"operator": "ada", "reason": "signed", "ticket_id": "T-7"},
    }
    once = RequestContext(idempotency_key="assign-1")
    first = await call("create_billing_plan_assignment", body=body, context=once)
    replay = await call("create_billing_plan_assignment", body=body, context=once)
    assert replay == first
    conflict = await call.refused(
        "create_billing_plan_assignment",
        body={**body, "source_ref": "other"},
        context=once,
    )
    assert conflict.status == 409
    bounded = {**body, "window_end": (start + timedelta(days=400)).isoformat()}
    merged = await call("create_billing_plan_assignment", body=bounded)
    assert merged.assignment_id == first.assignment_id
    assert merged.window_end is not None
    paused = await call(
        "update_billing_plan_assignment", first.assignment_id, body={"status": "paused"}
    )
    assert paused.status.value == "paused"
    await call(
        "update_billing_plan_assignment",
        first.assignment_id,
        body={"status": "active", "window_end": None},
    )
    listed = await call(
        "list_billing_plan_assignments",
        query={"billing_account_id": account_id, "plan_code": "pro"},
    )
    assert [row.assignment_id for row in listed.items] == [first.assignment_id]
    state = await call(
        "get_billing_account_billing_state", account_id, query={"user_id": "u-1"}
    )
    assert state.plans.base.plan_code == "pro"
    assert state.billing_mode.value == "prepaid"


async def _gate(call, acting):
    broke = await call.refused(
        "gate_authorize",
        body={"feature_code": "chat.large", "estimated_quantity_minor": "1000"},
        context=acting,
    )
    assert (broke.status, broke.code) == (402, "FUNDING.EXHAUSTED")
    await _credit(call, acting)
    ask = {"feature_code": "chat.large", "estimated_quantity_minor": "1000"}
    sure = await call.client.gate_preflight(body=ask, context=acting)
    assert sure.status == 200
    call.worked.add("gate_preflight")
    held = await call("gate_authorize", body=ask, context=acting)
    used = await call(
        "gate_commit",
        body={
            "lease": held.lease,
            "feature_code": "chat.large",
            "quantity_minor": "1500",
            "labels": {"job": "a"},
        },
        context=acting,
    )
    assert used.amount_xusd == "4500"
    more = await call("gate_authorize", body=ask, context=acting)
    batch = await call(
        "gate_commit_batch",
        body={
            "items": [
                {
                    "idempotency_key": key,
                    "lease": lease,
                    "feature_code": "chat.large",
                    "quantity_minor": "500",
                }
                for key, lease in (("b-1", more.lease), ("b-2", "unheard-of"))
            ]
        },
        context=acting,
    )
    assert (batch.committed_count, batch.failed_count) == (1, 1)
    assert batch.items[0].commit.amount_xusd == "1500"
    await _ingest(call, acting)
    balance = await call("get_credit_balance", context=acting)
    assert balance.available_balance.xusd == str(1_000_000 - 7_500)
    limits = await call(
        "gate_list_feature_limits", query={"expand": "quotas,rates"}, context=acting
    )
    assert [limit.feature_code for limit in limits] == ["chat.large"]
    meters = await call(
        "gate_list_meter_limits", query={"expand": "pricing,coverage"}, context=acting
    )
    assert [meter.meter_code for meter in meters] == ["chat.large"]


async def _contracts(call, acting):
    account = RequestContext(principal_id="acme")
    start = datetime.now(UTC) - timedelta(days=1)
    contract = await call(
        "upsert_billing_contract",
        body=wire.BillingContractUpsertRequest.model_validate(
            {"effective_at": start, "status": "active", "name": "Enterprise"}
        ),
        context=account,
    )
    await call("get_billing_contract", str(contract.contract_id), context=account)
    listed = await call(
        "list_billing_contracts", query={"status": ["active"]}, context=account
    )
    assert [row.contract_id for row in listed.items] == [contract.contract_id]
    contract_id = str(contract.contract_id)
    body = {
        "kind": "pricing",
        "term_key": "chat.large",
        "effective_at": start.isoformat(),
        "value_json": {
            "schema": "billing/contract_pricing:v2",
            "meter_code": "chat.large",
            "price": {"adjustments": [{"op": "multiplier", "multiplier": "0.8"}]},
        },
    }
    added = await call(
        "upsert_contract_term",
        contract_id,
        body=wire.ContractTermUpsertRequest.model_validate(body),
        context=account,
    )
    again = await call("upsert_contract_term", contract_id, body=body, context=account)
    assert again == added
    other = {**body, "value_json": {**body["value_json"], "price": None}}
    conflict = await call.refused(
        "upsert_contract_term", contract_id, body=other, context=account
    )
    assert conflict.status == 409
    terms = await call(
        "list_contract_terms", contract_id, query={"latest": "true"}, context=account
    )
    assert [term.term_key for term in terms.items] == ["chat.large"]
    assert await price_shown(call, acting) == "2400"
    await call(
        "update_billing_contract",
        contract_id,
        body=wire.BillingContractUpdateRequest(status="disabled"),
        context=account,
    )
    assert await price_shown(call, acting) == "3000"


async def price_shown(call, acting):
    """Return the price of the one meter, as its user is shown it."""
    (meter,) = await call(
        "gate_list_meter_limits", query={"expand": "pricing"}, context=acting
    )
    return meter.pricing.unit_price_xusd


async def _ingest(call, acting):
    """Report usage without a lease, once, and again, and other usage under its key."""
    once = RequestContext(
        principal_id="acme", user_id="u-1", idempotency_key="report-1"
    )
    report = {
        "feature_code": "chat.large",
        "occurred_at": datetime.now(UTC).isoformat(),
        "meters": [{"meter_code": "chat.large", "quantity_minor": "500"}],
        "labels": {"job": "nightly"},
        "metadata": {"file": "usage-7.csv"},
    }
    first = await call("gate_ingest", body=report, context=once)
    assert (first.amount_xusd, first.lines[0].root.meter_code) == ("1500", "chat.large")
    assert await call("gate_ingest", body=report, context=once) == first
    conflict = await call.refused(
        "gate_ingest", body={**report, "labels": {}}, context=once
    )
    assert (conflict.status, conflict.code) == (409, "WRITE.INVALID_PAYLOAD")
    foreign = await call.refused(
        "gate_ingest",
        body={
            "feature_code": "chat.large",
            "meters": [{"meter_code": "unheard-of", "quantity_minor": "1"}],
        },
        context=acting,
    )
    assert foreign.status == 422


async def _grants(call, account_id):
    """A program, a user bound to it, and the grant that this issued."""
    terms = {
        "program_code": "Welcome",
        "name": "Welcome",
        "cadence": "once",
        "issue_anchor": "binding_start",
        "amount_xusd": "100000",
        "window_kind": "forever",
        "outstanding_application_policy": "never",
        "issuance_mode": "eager",
    }
    made = await call("create_grant_program", body=terms)
    again = await call.refused("create_grant_program", body=terms)
    assert (again.status, again.code) == (409, "GRANT.PROGRAM_CODE_TAKEN")
    shown = await call("get_grant_program", made.program_id)
    assert shown == made
    changed = await call(
        "update_grant_program",
        made.program_id,
        body=admin.GrantProgramUpdateRequest(amount_xusd="200000", priority=5),
    )
    assert (changed.amount_xusd, changed.priority) == ("200000", 5)
    listed = await call("list_grant_programs", query={"program_code": "welcome"})
    assert listed.items == [changed]
    await _bound(call, account_id, made.program_id)


async def _bound(call, account_id, program_id):
    users = await call("list_billing_users", account_id)
    user_id = users.items[0].billing_user_id
    body = {
        "billing_account_id": str(account_id),
        "billing_user_id": str(user_id),
        "program_id": program_id,
        "source_kind": "ops.manual",
        "source_ref": "T-1001",
        "window_start": "2026-01-01T00:00:00Z",
        "amount_xusd": "300000",
    }
    bound = await call("create_grant_assignment", body=body)
    same = await call("create_grant_assignment", body=body)
    assert same == bound
    assert await call("get_grant_assignment", bound.assignment_id) == bound
    found = await call(
        "list_grant_assignments", query={"source_ref": "T-1001", "status": "active"}
    )
    assert found.items == [bound]
    grants = await call("list_grants")
    [grant] = [
        each for each in grants.items if each.assignment_id == bound.assignment_id
    ]
    assert (grant.amount_xusd, grant.remaining_xusd) == ("300000", "300000")
    assert await call("get_grant", grant.grant_id) == grant
    ended = await call(
        "update_grant_assignment", bound.assignment_id, body={"status": "canceled"}
    )
    assert ended.status.value == "canceled"


async def _budgets(call, acting):
    """A cap of its own on one piece of work, from its making to its end."""
    terms = {"budget": "trip-7", "name": "Trip", "limit_xusd": "5000"}
    made = await call("create_budget", body=terms, context=acting)
    again = await call("create_budget", body=terms, context=acting)
    assert again == made
    ask = {
        "feature_code": "chat.large",
        "estimated_quantity_minor": "1000",
        "budget": "trip-7",
    }
    held = await call("gate_authorize", body=ask, context=acting)
    assert held.budget_id == made.budget_id
    broke = await call.refused("gate_authorize", body=ask, context=acting)
    assert (broke.status, broke.code) == (402, "BUDGET.EXHAUSTED")
    used = await call(
        "gate_commit",
        body={
            "lease": held.lease,
            "feature_code": "chat.large",
            "quantity_minor": "900",
        },
        context=acting,
    )
    assert (used.budget_id, used.budget_consumed_delta_xusd) == (
        made.budget_id,
        "2700",
    )
    assert used.budget_remaining_xusd == "2300"
    shown = await call("get_budget", made.budget_id, context=acting)
    assert (shown.consumed_xusd, shown.remaining_xusd) == ("2700", "2300")
    listed = await call("list_budgets", query={"status": "active"}, context=acting)
    assert [budget.budget for budget in listed.items] == ["trip-7"]
    closed = await call(
        "close_budget", made.budget_id, body={"reason": "over"}, context=acting
    )
    assert closed.consumed_xusd == "2700"
    gone = await call.refused("gate_authorize", body=ask, context=acting)
    assert (gone.status, gone.code) == (422, "RESOURCE.NOT_FOUND")


async def _credit(call, acting):
    """Credit the user through our own operation, signed by the client's own signer."""
    http = call.client._http
    users = await http.request(
        path="/billing-accounts", operation="list", context=acting
    )
    account_id = users["data"]["items"][0]["billing_account_id"]
    people = await http.request(
        path=f"/billing-accounts/{account_id}/users",
        query={"user_id": "u-1"},
        operation="users",
    )
    user_id = people["data"]["items"][0]["billing_user_id"]
    answer = await http.request(
        path=f"/billing-users/{user_id}/credits",
        method="POST",
        body={"amount_xusd": "1000000", "source_ref": "INV-1"},
        operation="credit",
    )
    assert answer["ok"] is True


async def _as_end_user(base, realm_id, token):
    client = BearerClient(
        BearerClientOptions(
            config=VlunaAIConfig(realm_id=realm_id, base_url=f"{base}/api/v1"),
            error_mode="raise",
        )
    )
    call = Journey(client)
    try:
        bearing = RequestContext(access_token=token)
        state = await call("get_current_billing_state", context=bearing)
        assert state.user_id == "u-1"
        balance = await call("get_credit_balance", context=bearing)
        assert balance.available_balance.xusd == str(1_000_000 - 7_500 - 2_700)
        own = await call("create_budget", body={"limit_xusd": "100"}, context=bearing)
        assert own.budget == own.budget_id
        await call("get_budget", own.budget_id, context=bearing)
        closed = await call("close_budget", own.budget_id, context=bearing)
        assert closed.remaining_xusd == "100"
        listed = await call("list_budgets", context=bearing)
        assert [budget.status.value for budget in listed.items] == ["closed"] * 2
    finally:
        await client.close()
    return call.worked


WORKING_SERVICE = {
    "list_grant_programs",
    "create_grant_program",
    "get_grant_program",
    "update_grant_program",
    "list_grant_assignments",
    "create_grant_assignment",
    "get_grant_assignment",
    "update_grant_assignment",
    "list_grants",
    "get_grant",
    "upsert_feature_family",
    "list_feature_families",
    "get_feature_family",
    "update_feature_family",
    "upsert_feature",
    "list_features",
    "get_feature",
    "update_feature",
    "upsert_meter",
    "list_meters",
    "get_meter",
    "update_meter",
    "upsert_billing_plan",
    "list_billing_plans",
    "get_billing_plan",
    "update_billing_plan",
    "upsert_billing_plan_entitlements",
    "list_billing_plan_entitlements",
    "delete_billing_plan_entitlement",
    "issue_platform_token",
    "list_billing_accounts",
    "update_billing_account",
    "get_billing_account_seat_summary",
    "get_billing_account_billing_state",
    "update_billing_account_billing_details",
    "create_billing_user",
    "list_billing_users",
    "get_billing_user",
    "update_billing_user",
    "disable_billing_user",
    "restore_billing_user",
    "create_billing_plan_assignment",
    "update_billing_plan_assignment",
    "list_billing_plan_assignments",
    "list_billing_contracts",
    "upsert_billing_contract",
    "get_billing_contract",
    "update_billing_contract",
    "list_contract_terms",
    "upsert_contract_term",
    "gate_authorize",
    "gate_preflight",
    "gate_commit",
    "gate_commit_batch",
    "gate_ingest",
    "gate_list_feature_limits",
    "gate_list_meter_limits",
    "get_credit_balance",
    "list_budgets",
    "create_budget",
    "get_budget",
    "close_budget",
}
WORKING_BEARER = {
    "get_current_billing_state",
    "get_credit_balance",
    "list_budgets",
    "create_budget",
    "get_budget",
    "close_budget",
}
