"""`/contracts` and their terms, over HTTP, as the official client reads them."""

from datetime import timedelta

import pytest
from vlunaai.generated import billing_mgt_models as wire

from billing.models import BillingAccount, BillingContract, ContractTerm
from billing.services.accounts import ensure_account
from catalog.services.meters import upsert_meter
from config.kernel.ids import new_id
from config.kernel.windows import format_instant
from tests.billing.agreeing import agreed, price, termed, times
from tests.billing.answers import invalid, paged, queries_of, read, refusal

DAY = timedelta(days=1)
START = "2026-04-01T00:00:00.000000Z"


@pytest.fixture
def acme(api, account):
    """A client that names the account by its principal."""
    return api.bound(principal_id="acme")


@pytest.fixture
def made(acme):
    return read(
        acme.post("contracts", {"effective_at": START, "name": "Enterprise"}),
        wire.BillingContractEnvelope,
        201,
    )


@pytest.fixture
def meter(realm, at, by):
    return upsert_meter(realm=realm, meter_code="chat", at=at, by=by)[0]


@pytest.fixture
def add(acme, made, meter):
    """Return the sender of a term: `add({…})`."""

    def send(changes=None, client=acme):
        body = {
            "kind": "pricing",
            "term_key": "chat",
            "effective_at": START,
            "value_json": price(times("0.8")),
        }
        return client.post(
            f"contracts/{made['contract_id']}/terms", body | (changes or {})
        )

    return send


def test_contract_is_made_then_overwritten(acme, account, made):
    again = read(
        acme.post("contracts", {"effective_at": START, "status": "disabled"}),
        wire.BillingContractEnvelope,
    )

    assert made["billing_account_id"] == str(account.pk)
    assert (made["status"], made["name"], made["effective_at"]) == (
        "active",
        "Enterprise",
        START,
    )
    assert (made["window_end"], made["metadata"]) == (None, {})
    assert again["contract_id"] == made["contract_id"]
    assert (again["status"], again["name"]) == ("disabled", None)


def test_contract_is_read_and_changed(acme, made):
    path = f"contracts/{made['contract_id']}"
    changed = read(
        acme.post(path, {"name": None, "metadata": {"a": 1}, "window_end": "2027-01-01T00:00:00Z"}),
        wire.BillingContractEnvelope,
    )  # fmt: skip

    assert read(acme.get(path), wire.BillingContractEnvelope) == changed
    assert (changed["name"], changed["metadata"]) == (None, {"a": 1})
    assert changed["window_end"] == "2027-01-01T00:00:00.000000Z"
    assert refusal(acme.post(path, {"status": None})) == invalid("status")
    assert refusal(acme.post(path, {"window_end": START})) == invalid("window_end")


def test_contracts_are_listed_by_status(acme, account, at, by):
    for day in range(5):
        status = "disabled" if day % 2 else "active"
        agreed(account, at + day * DAY, status=status, at=at, by=by)

    def ids(**query):
        return paged(acme, "contracts", "contract_id", **query)

    everything = acme.get("contracts")
    wire.BillingContractListEnvelope.model_validate(everything.json())
    assert len(everything.json()["data"]["items"]) == len(set(ids())) == 5
    assert len(ids(status="disabled")) == 2
    assert len(acme.get("contracts?status[]=active&status[]=disabled").json()["data"]["items"]) == 5  # fmt: skip


def test_listing_costs_the_same_for_one_contract_and_three(acme, account, at, by):
    contract = agreed(account, at, at=at, by=by)
    termed(contract, 1, at, key="limit", kind="e2r_param", at=at, by=by)
    terms = f"contracts/{contract.pk}/terms"
    acme.get("contracts")
    one = queries_of(lambda: acme.get("contracts")), queries_of(lambda: acme.get(terms))
    for day in (1, 2):
        agreed(account, at + day * DAY, at=at, by=by)
        termed(contract, 1, at + day * DAY, key="limit", kind="e2r_param", at=at, by=by)

    three = (
        queries_of(lambda: acme.get("contracts")),
        queries_of(lambda: acme.get(terms)),
    )
    assert three == one


def test_term_is_added_repeated_and_never_changed(add, made, realm):
    first = read(add(), wire.ContractTermEnvelope, 201)
    again = read(add(), wire.ContractTermEnvelope)
    other = add({"value_json": price(times("0.7"))})

    assert first == again
    assert first["contract_id"] == made["contract_id"]
    assert first["value_json"] == price(times("0.8"))
    assert refusal(other) == (409, "CONFLICT", "value_json")
    assert "term already exists with different value_json" in other.json()["message"]
    assert ContractTerm.objects.in_realm(realm).count() == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"value_json": price(times("x"))}, "value_json.price.adjustments.0.multiplier"),
        ({"value_json": price() | {"prize": 1}}, "value_json.prize"),
        ({"value_json": price(meter="draw")}, "value_json.meter_code"),
        ({"value_json": {"schema": "v3"}}, "value_json.schema"),
        ({"value_json": None}, "value_json"),
        ({"term_key": "draw"}, "term_key"),
        ({"kind": "quota"}, "kind"),
    ],
)  # fmt: skip
def test_bad_term_is_refused_at_its_place(add, realm, changes, field):
    assert refusal(add(changes)) == invalid(field)
    assert not ContractTerm.objects.in_realm(realm).exists()


def test_term_needs_a_value(acme, made):
    body = {"kind": "e2r_param", "term_key": "x", "effective_at": START}

    answer = acme.post(f"contracts/{made['contract_id']}/terms", body)

    assert refusal(answer) == invalid("value_json")


def test_parameter_may_be_null_and_is_the_default_kind(acme, made):
    body = {"term_key": "x", "effective_at": START, "value_json": None}

    term = read(
        acme.post(f"contracts/{made['contract_id']}/terms", body),
        wire.ContractTermEnvelope,
        201,
    )

    assert (term["kind"], term["value_json"]) == ("e2r_param", None)


def test_terms_are_listed_as_of(acme, add, made, at):
    add({"effective_at": "2026-05-01T00:00:00Z", "value_json": price(times("0.7"))})
    add()
    add({"kind": "e2r_param", "term_key": "limit", "value_json": 5})
    path = f"contracts/{made['contract_id']}/terms"

    def told(**query):
        answer = acme.get(path, **query)
        wire.ContractTermListEnvelope.model_validate(answer.json())
        rows = answer.json()["data"]["items"]
        return sorted((row["term_key"], row["effective_at"][:7]) for row in rows)

    assert told() == [("chat", "2026-04"), ("chat", "2026-05"), ("limit", "2026-04")]
    assert told(latest="true") == [("chat", "2026-05"), ("limit", "2026-04")]
    assert told(latest="true", as_of=START, kind="pricing") == [("chat", "2026-04")]
    assert told(term_key="limit") == [("limit", "2026-04")]
    assert told(known_at=format_instant(at - DAY)) == []
    assert len(paged(acme, path, "term_key", limit=1)) == 3
    assert refusal(acme.get(path, kind="quota")) == invalid("kind")


def test_state_of_the_account_tells_the_contract(api, acme, account, made):
    path = f"billing-accounts/{account.pk}/billing-state"

    before = read(
        api.get(path, as_of="2026-03-01T00:00:00Z"), wire.BillingStateEnvelope
    )
    after = read(api.get(path, as_of="2199-01-01T00:00:00Z"), wire.BillingStateEnvelope)

    assert before["contract"] is None
    assert after["contract"] == {
        "contract_id": made["contract_id"],
        "name": "Enterprise",
        "effective_at": START,
        "window_end": None,
    }


# Whose contract


def test_account_is_named_by_either_id(api, account, made):
    for bindings in (
        {"billing_account_id": str(account.pk)},
        {"billing_account_id": str(account.pk), "principal_id": "acme"},
    ):
        found = api.bound(**bindings).get(f"contracts/{made['contract_id']}")
        assert read(found, wire.BillingContractEnvelope) == made


def test_new_principal_gets_its_account(api, realm):
    answer = api.bound(principal_id="initech").post(
        "contracts", {"effective_at": START}
    )

    assert answer.status_code == 201
    account = BillingAccount.objects.get(realm=realm, billing_principal_id="initech")
    assert account.contracts.count() == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_call_that_names_no_account_is_refused(api, realm, account, method):
    body = {"effective_at": START} if method == "POST" else None

    answer = api.request(method, "contracts", body)

    assert refusal(answer) == (401, "AUTH.MISSING_SERVICE_BINDINGS", None)
    assert not BillingContract.objects.in_realm(realm).exists()


@pytest.mark.parametrize("claimed", ["unknown", "malformed", "other"])
def test_account_that_is_not_the_principals_is_refused(
    api, realm, account, at, by, claimed
):
    other = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    ids = {"unknown": new_id(), "malformed": "x", "other": other.pk}
    client = api.bound(principal_id="acme", billing_account_id=str(ids[claimed]))

    answer = client.post("contracts", {"effective_at": START})

    assert refusal(answer) == (403, "AUTH.SERVICE_BINDINGS_INVALID", None)
    assert not BillingContract.objects.in_realm(realm).exists()


def test_contract_of_another_account_is_unknown(api, realm, made, at, by):
    ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    globex = api.bound(principal_id="globex")
    path = f"contracts/{made['contract_id']}"
    body = {"term_key": "x", "effective_at": START, "value_json": 1}

    for answer in (
        globex.get(path),
        globex.post(path, {"name": "Mine"}),
        globex.get(f"{path}/terms"),
        globex.post(f"{path}/terms", body),
        globex.get("contracts/x"),
    ):
        assert refusal(answer) == (404, "RESOURCE.NOT_FOUND", None)
    assert globex.get("contracts").json()["data"]["items"] == []


def test_key_limited_to_accounts_writes_contracts_of_these(limited_api, realm, at, by):
    ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    own = limited_api.bound(principal_id="acme")

    made = own.post("contracts", {"effective_at": START})

    assert made.status_code == 201
    for name in ("globex", "nobody-yet"):
        other = limited_api.bound(principal_id=name)
        for answer in (
            other.get("contracts"),
            other.post("contracts", {"effective_at": START}),
        ):
            assert refusal(answer)[:2] == (403, "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN")  # fmt: skip
    assert not BillingAccount.objects.filter(
        realm=realm, billing_principal_id="nobody-yet"
    ).exists()


def test_cursor_of_one_account_is_no_good_for_another(api, realm, account, at, by):
    other = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    for whose in (account, other):
        for day in (0, 1):
            agreed(whose, at + day * DAY, at=at, by=by)
    cursor = api.bound(principal_id="acme").get("contracts", limit="1").json()["data"]["next_cursor"]  # fmt: skip

    answer = api.bound(principal_id="globex").get("contracts", limit="1", cursor=cursor)

    assert refusal(answer) == invalid("cursor")


def test_write_is_explained_by_its_audit_fields(acme, realm, made):
    audit = {
        "operator": "grace",
        "reason": "renewed",
        "ticket_id": "CN-7",
        "effective_at": "2026-01-01T00:00:00Z",
    }
    acme.post(f"contracts/{made['contract_id']}", {"name": "Renewed", "audit": audit})
    acme.post(
        f"contracts/{made['contract_id']}/terms",
        {"term_key": "x", "effective_at": START, "value_json": 1, "audit": audit},
    )

    row = BillingContract.objects.in_realm(realm).get()
    last = row.history.latest()
    assert (last.operator, last.reason, last.ticket_id) == ("grace", "renewed", "CN-7")
    term = ContractTerm.objects.in_realm(realm).get()
    assert (term.operator, term.reason, term.ticket_id) == ("grace", "renewed", "CN-7")
