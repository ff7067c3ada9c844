"""`/grants` through HTTP: what was given, what is left of it, and what used it."""

from datetime import timedelta

import pytest
from vlunaai.generated import admin_models as wire

from billing.services.accounts import ensure_account
from billing.services.users import ensure_user
from config.kernel.errors import Invalid
from config.kernel.ids import new_id
from config.tenancy.history import auditing
from config.tenancy.services.service_keys import create_service_key
from grants.models import GrantAllocation, GrantLot, GrantProgram, LedgerEntry
from grants.services.assignment_changes import manual_identity
from grants.services.assignments import GrantTerms
from grants.services.credits import credit_balance
from grants.services.funding import hold, settle
from grants.services.manual_grants import give_by_hand
from tests.billing.answers import invalid, paged, queries_of, read, refusal
from tests.grants.make import make_program
from tests.tools.client import SignedClient

POLICY = {"outstanding_application_policy": "never"}


@pytest.fixture
def program(realm, at, by):
    return make_program(realm, name="Welcome", at=at, by=by)


@pytest.fixture
def body(user):
    """Return a maker of bodies: 900 xusd by hand."""

    def make(**changed):
        return {
            "billing_account_id": str(user.account_id),
            "billing_user_id": str(user.pk),
            "amount_xusd": "900",
            **POLICY,
            **changed,
        }

    return make


def given(api, document, key=None, status=201):
    answer = api.post("grants", document, key)
    return read(answer, wire.LedgerGrantAdminEnvelope, status)


def test_grant_by_hand_is_shown_with_its_ledger(api, user, body):
    data = given(
        api,
        body(
            source={"kind": "ops.manual", "ref": "T-9", "note": "an apology"},
            window_start="2026-03-01T00:00:00Z",
            window_end="2036-03-01T00:00:00Z",
            kind="promo",
            priority=7,
            metadata={"team": "care", "n": 5},
        ),
    )

    shown = read(api.get(f"grants/{data['grant_id']}"), wire.LedgerGrantAdminEnvelope)
    entry = LedgerEntry.objects.get(lot_id=data["grant_id"], amount_xusd__gt=0)
    assert shown == data
    expected = {
        "billing_account_id": str(user.account_id),
        "billing_user_id": str(user.pk),
        "ledger_id": str(entry.ledger_account_id),
        "grant_program_code": "one_time_xusd",
        "source_kind": "ops.manual",
        "source_ref": "T-9",
        "on_ledger": True,
        "outstanding_application_policy": "never",
        "issuance_status": "ready",
        "kind": "promo",
        "window_start": "2026-03-01T00:00:00.000000Z",
        "window_end": "2036-03-01T00:00:00.000000Z",
        "priority": 7,
        "amount_xusd": "900",
        "posted_consumed_xusd": "0",
        "pending_reserved_xusd": "0",
        "remaining_xusd": "900",
        "paid_xusd": "0",
        "source_entry_id": str(entry.pk),
        "closure_kind": None,
        "closure_entry_id": None,
        "closed_at": None,
        "closed_remaining_xusd": None,
    }
    assert {name: data[name] for name in expected} == expected
    assert data["metadata"]["team"] == "care"
    assert data["metadata"]["note"] == "an apology"
    assert data["display_label"].endswith("from 2026-03-01 until 2036-03-01")


def test_same_reference_is_the_same_grant(api, user, body):
    source = {"source": {"ref": "T-9"}}
    first = given(api, body(**source))
    again = given(api, body(**source), status=200)
    other = api.post("grants", body(**source, amount_xusd="901"))

    assert again["grant_id"] == first["grant_id"]
    assert refusal(other)[0] == 409
    assert GrantLot.objects.filter(user=user).count() == 1


def test_same_reference_is_the_same_grant_whatever_changed_since(user, program, at, by):
    asked = {
        "identity": manual_identity(
            user=user, program=program, source_ref="T-9", by=by
        ),
        "window_start": None,
        "window_end": at + timedelta(days=1),
        "terms": GrantTerms(),
    }
    first, created = give_by_hand(**asked, at=at, by=by)
    later = at + timedelta(days=2)
    with auditing(by, at=at):
        GrantProgram.objects.filter(pk=program.pk).update(amount_xusd=1)
    program.refresh_from_db()

    again, created_again = give_by_hand(**asked, at=later, by=by.effective(later))

    assert (created, created_again, again) == (True, False, first)
    other = manual_identity(user=user, program=program, source_ref="T-8", by=by)
    with pytest.raises(Invalid):
        give_by_hand(**{**asked, "identity": other}, at=later, by=by.effective(later))


def test_without_a_reference_the_idempotency_key_is_one(api, user, body):
    first = given(api, body(), key="k-1")

    assert given(api, body(), key="k-1") == first
    assert given(api, body(), key="k-2")["grant_id"] != first["grant_id"]


@pytest.mark.parametrize("by_code", [True, False])
def test_program_gives_its_amount(api, program, body, by_code):
    which = (
        {"grant_program_code": "Welcome"}
        if by_code
        else {"program_id": str(program.pk)}
    )

    data = given(api, body(mode="program", amount_xusd=None, **which))

    assert (data["amount_xusd"], data["program_name"]) == ("5000", "Welcome")
    assert data["program_id"] == str(program.pk)


def test_grant_meant_for_later_is_there_already(api, body):
    data = given(api, body(window_start="2090-01-01T00:00:00Z"))

    assert data["window_start"] == "2090-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"amount_xusd": None}, "amount_xusd"),
        ({"amount_xusd": "0"}, "amount_xusd"),
        ({"amount_xusd": "-1"}, "amount_xusd"),
        ({"amount_xusd": str(2**63)}, "amount_xusd"),
        ({"mode": "gift"}, "mode"),
        ({"mode": "program"}, "program_id"),
        ({"program_id": str(new_id())}, "program_id"),
        ({"grant_program_code": "welcome"}, "grant_program_code"),
        ({"kind": "fallback"}, "kind"),
        ({"kind": "rollover"}, "kind"),
        ({"window_end": "2020-01-01T00:00:00Z"}, "window_end"),
        (
            {"window_start": "2019-01-01T00:00:00Z", "window_end": "2020-01-01T00:00:00Z"},
            "window_end",
        ),
        ({"source": {"kind": "ops.campaign"}}, "source.kind"),
        ({"source": {"ref": " "}}, "source.ref"),
        ({"outstanding_application_policy": None}, "outstanding_application_policy"),
        ({"metadata": {"a": {}}}, "metadata.a"),
        ({"metadata": {"quantity": "9"}}, "metadata.quantity"),
        ({"metadata": {"program_id": "9"}}, "metadata.program_id"),
        ({"metadata": {"grant_override": "x"}, "priority": 7}, "metadata.grant_override"),
        ({"metadata": {"note": "x"}, "source": {"note": "y"}}, "metadata.note"),
        ({"surprise": 1}, "surprise"),
    ],
)  # fmt: skip
def test_bad_grant_is_refused(api, user, body, changed, field):
    assert refusal(api.post("grants", body(**changed))) == invalid(field)
    assert not GrantLot.objects.filter(user=user).exists()


def test_unknown_program_is_refused(api, body):
    by_code = body(mode="program", amount_xusd=None, grant_program_code="ghost")
    by_id = body(mode="program", amount_xusd=None, program_id=str(new_id()))

    assert refusal(api.post("grants", by_code))[:2] == (422, "GRANT.PROGRAM_UNKNOWN")
    assert refusal(api.post("grants", by_id))[:2] == (404, "RESOURCE.NOT_FOUND")


def test_holds_and_uses_are_pending_until_they_are_posted(api, user, body, at):
    data = given(api, body(window_start="2026-03-01T00:00:00Z"))
    held = hold(user=user, amount_xusd=300, at=at)
    path = f"grants/{data['grant_id']}"

    def figures():
        seen = api.get(path).json()["data"]
        return (
            seen["posted_consumed_xusd"],
            seen["pending_reserved_xusd"],
            seen["remaining_xusd"],
        )

    assert figures() == ("0", "300", "600")
    settle(
        user=user, held=held, spend_xusd=200, source_ref="gate_rating:1",
        at=at,
    )  # fmt: skip
    assert figures() == ("0", "200", "700")


def test_consumption_lists_what_used_a_grant(api, user, body, at):
    data = given(api, body(window_start="2026-03-01T00:00:00Z"))
    for number, source in enumerate(("gate_rating:1", "consume:k", "adjustment:x")):
        held = hold(user=user, amount_xusd=10 + number, at=at)
        settle(
            user=user, held=held, spend_xusd=10 + number,
            source_ref=source, at=at + timedelta(seconds=number),
        )  # fmt: skip
    path = f"grants/{data['grant_id']}/consumption"

    answer = api.get(path)

    found = read(answer, wire.GrantConsumptionEntryListEnvelope)["items"]
    assert [
        (row["amount_xusd"], row["status"], row["source_kind"], row["source_ref"])
        for row in found
    ] == [
        ("12", "reserved", "manual_adjustment", "adjustment:x"),
        ("11", "reserved", "usage_event", "consume:k"),
        ("10", "reserved", "usage_event", "gate_rating:1"),
    ]
    assert {row["grant_id"] for row in found} == {data["grant_id"]}
    allocations = {str(row.pk) for row in GrantAllocation.objects.filter(user=user)}
    assert {*paged(api, path, "entry_id")} == allocations


def test_grant_is_suspended_resumed_and_revoked(api, body):
    path = f"grants/{given(api, body())['grant_id']}"

    def become(status):
        answer = api.patch(path, {"issuance_status": status})
        return read(answer, wire.LedgerGrantAdminEnvelope)

    assert become("suspended")["issuance_status"] == "suspended"
    assert become("active")["issuance_status"] == "ready"
    revoked = become("canceled")
    assert (revoked["issuance_status"], revoked["closure_kind"]) == (
        "canceled",
        "forfeit",
    )
    assert revoked["closed_remaining_xusd"] == "900"
    assert revoked["closure_entry_id"] is not None
    assert refusal(api.patch(path, {"issuance_status": "ready"}))[0] == 409


def test_labels_are_added(api, body):
    path = f"grants/{given(api, body(metadata={'a': '1', 'b': '2'}))['grant_id']}"

    data = read(
        api.patch(path, {"metadata": {"b": "3", "c": True}}),
        wire.LedgerGrantAdminEnvelope,
    )

    assert {name: data["metadata"][name] for name in "abc"} == {
        "a": "1",
        "b": "3",
        "c": "true",
    }


def test_labels_that_were_read_may_be_sent_back(api, body):
    read_before = given(api, body(metadata={"a": "1"}))
    path = f"grants/{read_before['grant_id']}"

    answer = api.patch(path, {"metadata": {**read_before["metadata"], "b": "2"}})

    data = read(answer, wire.LedgerGrantAdminEnvelope)
    assert data["metadata"] == {**read_before["metadata"], "b": "2"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"issuance_status": "closed"}, "issuance_status"),
        ({"issuance_status": "pending_close"}, "issuance_status"),
        ({"issuance_status": "x"}, "issuance_status"),
        ({"metadata": {"a": []}}, "metadata.a"),
        ({"metadata": {"quantity": "2"}}, "metadata.quantity"),
        ({"metadata": {"assignment_id": "x"}}, "metadata.assignment_id"),
        ({"amount_xusd": "1"}, "amount_xusd"),
    ],
)
def test_bad_change_is_refused(api, body, changes, field):
    path = f"grants/{given(api, body())['grant_id']}"

    assert refusal(api.patch(path, changes)) == invalid(field)


def test_list_pages_and_filters(api, realm, user, program, body, at, by):
    elsewhere = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    stranger = ensure_user(account=elsewhere, business_user_id="s", at=at, by=by)
    a = given(
        api,
        body(
            kind="promo",
            window_start="2026-03-01T00:00:00Z",
            window_end="2090-01-01T00:00:00Z",
        ),
    )
    b = given(api, body(mode="program", program_id=str(program.pk)))
    c = given(
        api,
        body(billing_account_id=str(elsewhere.pk), billing_user_id=str(stranger.pk)),
    )
    api.patch(f"grants/{c['grant_id']}", {"issuance_status": "suspended"})
    names = {a["grant_id"]: "a", b["grant_id"]: "b", c["grant_id"]: "c"}

    def found(**query):
        keys = paged(api, "grants", "grant_id", **query)
        return "".join(sorted(names[key] for key in keys))

    assert found() == "abc"
    assert found(billing_account_id=str(elsewhere.pk)) == "c"
    assert found(billing_user_id=str(user.pk)) == "ab"
    assert found(program_id=str(program.pk)) == "b"
    assert found(grant_program_code="welcome") == "b"
    assert found(assignment_id=a["assignment_id"]) == "a"
    assert found(issuance_status="suspended") == "c"
    assert found(kind="promo") == "a"
    assert found(on_ledger="false") == "b"
    assert found(window_end_before="2090-06-01T00:00:00Z", kind="promo") == "a"
    assert found(window_end_after="2090-06-01T00:00:00Z", kind="promo") == ""
    assert found(window_start_before="2026-03-02T00:00:00Z") == "a"
    assert found(window_start_after="2026-03-02T00:00:00Z") == "bc"
    assert found(program_id="nonsense") == ""
    assert refusal(api.get("grants", kind="x")) == invalid("kind.0")


def test_list_takes_as_many_queries_for_many_as_for_one(api, body):
    given(api, body())
    api.get("grants")
    one = queries_of(lambda: api.get("grants"))
    for _ in range(4):
        given(api, body())

    assert queries_of(lambda: api.get("grants")) == one


def test_limited_key_reaches_its_own_accounts_only(api, realm, user, body, at, by):
    other = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    mine = given(api, body())
    key = create_service_key(
        realm=realm, allowed_accounts=[str(other.pk)], at=at, by=by
    )
    limited = SignedClient(realm, key)
    forbidden = (403, "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN")
    path = f"grants/{mine['grant_id']}"

    assert limited.get("grants").json()["data"]["items"] == []
    for answer in (
        limited.get(path),
        limited.get(f"{path}/consumption"),
        limited.patch(path, {"issuance_status": "canceled"}),
        limited.post("grants", body()),
    ):
        assert refusal(answer)[:2] == forbidden
    assert GrantLot.objects.get(user=user).status == "ready"


def test_another_realms_grant_is_unknown(api, other_realm, at, by):
    account = ensure_account(realm=other_realm, principal_id="acme", at=at, by=by)
    user = ensure_user(account=account, business_user_id="u-1", at=at, by=by)
    foreign = credit_balance(
        user=user, amount_xusd=5, source_ref="opening", at=at, by=by
    )
    path = f"grants/{foreign.pk}"

    for answer in (
        api.get(path),
        api.get(f"{path}/consumption"),
        api.patch(path, {"issuance_status": "suspended"}),
        api.get("grants/nonsense"),
    ):
        assert refusal(answer)[:2] == (404, "RESOURCE.NOT_FOUND")
