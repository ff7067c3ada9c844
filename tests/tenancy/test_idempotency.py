"""One effect per Idempotency-Key, and the same answer again: whatever fails between."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from django.db import connection

from catalog.models import Meter
from config.tenancy.models import DomainEvent, StoredAnswer
from config.tenancy.services.idempotency import KEPT, identity_digest, purge_answers
from config.tenancy.services.service_keys import create_service_key
from tests.tools.client import SignedClient
from tests.tools.signer import RawClient
from tests.tools.tables import run

METERS = "/mgt/v1/meters"
TOKENS = {"meter_code": "tokens"}


def stored(realm, key):
    """The stored answers of a key in a realm."""
    return StoredAnswer.objects.filter(realm=realm, key=key)


def replayed(response):
    """Whether a success was an answer given before."""
    assert response.status_code in {200, 201}, response.content
    return response.get("Idempotency-Replayed") == "true"


def token_of(answer):
    """An issued token, without how long it lasts from now."""
    data = answer.json()["data"]
    return json.dumps({name: data[name] for name in data if name != "expires_in"})


def changes(realm):
    """How many things happened in the catalog of a realm."""
    return DomainEvent.objects.in_realm(realm).filter(kind__startswith="meter").count()


# --- the same request ---------------------------------------------------------


def test_repeat_gives_the_same_bytes(api, realm):
    first = api.post("meters", TOKENS, key="k")
    happened = changes(realm)

    again = api.post("meters", TOKENS, key="k")

    assert (replayed(first), replayed(again)) == (False, True)
    assert again.content == first.content
    assert again.status_code == first.status_code == 201
    assert changes(realm) == happened


def test_answer_is_not_changed_by_what_happened_since(api, realm):
    first = api.post("meters", TOKENS, key="k")
    api.post("meters", {**TOKENS, "unit": "kilo"}, key="k2")

    again = api.post("meters", TOKENS, key="k")

    assert again.content == first.content
    assert Meter.objects.in_realm(realm).get().unit == "kilo"


def test_repeat_has_a_trace_of_its_own(api):
    first = api.post("meters", TOKENS, key="k")
    again = api.post("meters", TOKENS, key="k")

    assert again["X-Trace-Id"] != first["X-Trace-Id"]
    assert again.json()["trace_id"] == first.json()["trace_id"]


@pytest.mark.parametrize(
    "other",
    [
        {"meter_code": "Tokens"},
        {**TOKENS, "unit": "x"},
        {},
        {"unit": "unit", "meter_code": "tokens"},
    ],
    ids=["case", "more", "less", "order"],
)
def test_same_key_with_another_body_is_refused(api, realm, other):
    api.post("meters", TOKENS, key="k")
    happened = changes(realm)

    answer = api.post("meters", other, key="k")

    expected = (
        (409, "WRITE.INVALID_PAYLOAD") if other else (422, "VALIDATION.INVALID_INPUT")
    )
    assert (answer.status_code, answer.json()["code"]) == expected
    assert changes(realm) == happened
    assert replayed(api.post("meters", TOKENS, key="k"))


@pytest.mark.parametrize("missing", [None, ""])
def test_write_without_a_key_is_refused(api, realm, missing):
    family = api.post("feature-families", {"feature_family_code": "ai"}).json()["data"][
        "feature_family_id"
    ]
    raw = RawClient(realm, api.key)

    for method, path in (
        ("POST", METERS),
        ("PATCH", f"/mgt/v1/feature-families/{family}"),
        ("DELETE", f"/mgt/v1/feature-families/{family}"),
    ):
        body = json.dumps(TOKENS if method == "POST" else {}).encode()
        answer = raw.send(
            method, path, body, raw.signed(method, path, body, idempotency_key=missing)
        )

        assert (answer.status_code, answer.json()["meta"]["field"]) == (
            400,
            "Idempotency-Key",
        )
        assert answer.json()["message"].startswith("missing_idempotency_key")
    assert Meter.objects.in_realm(realm).count() == 0


@pytest.mark.parametrize(("length", "status"), [(255, 201), (256, 400), (513, 400)])
def test_length_of_a_key(api, length, status):
    assert api.post("meters", TOKENS, key="k" * length).status_code == status


# --- the scope of a key -------------------------------------------------------


def test_key_counts_within_its_scope_only(
    api, realm, other_realm, service_key, account, user, at, by
):
    """The same key of another realm, caller, binding, method or path is another request."""
    other_key = create_service_key(realm=realm, at=at, by=by)
    elsewhere = SignedClient(
        other_realm, create_service_key(realm=other_realm, at=at, by=by)
    )
    callers = {
        "first": api,
        "service key": SignedClient(realm, other_key),
        "realm": elsewhere,
        "principal": api.bound(principal_id="acme"),
        "user": api.bound(principal_id="acme", user_id="u-1"),
        "other user": api.bound(principal_id="acme", user_id="u-2"),
        "account": api.bound(billing_account_id=str(account.pk)),
    }

    first = {
        name: replayed(client.post("meters", TOKENS, key="k"))
        for name, client in callers.items()
    }
    again = {
        name: replayed(client.post("meters", TOKENS, key="k"))
        for name, client in callers.items()
    }

    assert first == dict.fromkeys(callers, False)
    assert again == dict.fromkeys(callers, True)
    assert stored(realm, "k").count() + stored(other_realm, "k").count() == len(callers)


def test_bindings_do_not_run_into_each_other(api):
    first = api.bound(principal_id="a", user_id="b").post("meters", TOKENS, key="k")
    other = api.bound(principal_id="ab").post("meters", TOKENS, key="k")
    third = api.bound(principal_id="a", billing_account_id="b").post(
        "meters", TOKENS, key="k"
    )

    assert [replayed(each) for each in (first, other, third)] == [False, False, False]


def test_key_counts_for_one_method_and_path(api, realm):
    meter = api.post("meters", TOKENS, key="k").json()["data"]["meter_id"]
    api.post("meters", {"meter_code": "calls"}, key="k2")
    other = Meter.objects.in_realm(realm).get(meter_code="calls").pk

    path = api.post("feature-families", {"feature_family_code": "ai"}, key="k")
    patched = api.patch(f"meters/{meter}", {"unit": "x"}, key="k")
    patched_other = api.patch(f"meters/{other}", {"unit": "x"}, key="k")

    assert [replayed(each) for each in (path, patched, patched_other)] == [
        False,
        False,
        False,
    ]


def test_query_is_no_part_of_the_scope(api):
    first = api.request("POST", f"{METERS}", TOKENS, "k")
    again = api.request("POST", f"{METERS}?again=1", TOKENS, "k")

    assert again.content == first.content


# --- failures -----------------------------------------------------------------


def test_failure_is_not_kept_and_the_retry_may_succeed(api, realm):
    feature = {"feature_code": "chat", "feature_family_code": "ai"}

    failed = api.post("features", feature, key="k")
    kept = stored(realm, "k").count()
    api.post("feature-families", {"feature_family_code": "ai"})
    retried = api.post("features", feature, key="k")

    assert failed.status_code == 404
    assert kept == 0
    assert (retried.status_code, replayed(retried)) == (201, False)
    assert replayed(api.post("features", feature, key="k"))


def test_failure_lets_the_key_be_used_with_another_body(api):
    refused = api.post("meters", {"meter_code": "!"}, key="k")

    assert refused.status_code == 422
    assert api.post("meters", TOKENS, key="k").status_code == 201


REFUSE_ANSWERS = (
    "CREATE TRIGGER broken BEFORE UPDATE ON stored_answers FOR EACH ROW EXECUTE FUNCTION plangate_refuse_rewrite('here')",
    "DROP TRIGGER broken ON stored_answers",
)
REFUSE_EFFECTS = (
    "CREATE TRIGGER broken BEFORE INSERT ON domain_events FOR EACH ROW EXECUTE FUNCTION plangate_refuse_rewrite('here')",
    "DROP TRIGGER broken ON domain_events",
)


@pytest.mark.parametrize(
    "sabotage",
    [REFUSE_ANSWERS, REFUSE_EFFECTS],
    ids=["after the effect", "during the effect"],
)
def test_effect_and_answer_are_kept_together(api, realm, sabotage):
    """The database fails between the two: then there is neither."""
    spoil, repair = sabotage
    run(spoil)

    broken = api.post("meters", TOKENS, key="k")

    assert (broken.status_code, broken.json()["code"]) == (500, "SERVER.UNEXPECTED")
    assert "here" not in broken.content.decode()
    assert (
        Meter.objects.in_realm(realm).count(),
        changes(realm),
        stored(realm, "k").count(),
    ) == (0, 0, 0)

    run(repair)
    retried = api.post("meters", TOKENS, key="k")
    assert (retried.status_code, replayed(retried)) == (201, False)
    assert (Meter.objects.in_realm(realm).count(), stored(realm, "k").count()) == (1, 1)


FAIL_TIMES = """
CREATE SEQUENCE attempts;
CREATE FUNCTION fail_at_first() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('attempts') <= {times} THEN
        RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '{state}';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fails BEFORE INSERT ON meters FOR EACH ROW EXECUTE FUNCTION fail_at_first();
"""


@pytest.mark.parametrize("state", ["40001", "40P01"])
@pytest.mark.parametrize("times", [1, 2])
def test_lost_race_in_the_database_is_tried_again(api, realm, state, times):
    run(FAIL_TIMES.format(times=times, state=state))

    answer = api.post("meters", TOKENS, key="k")

    assert (answer.status_code, replayed(answer)) == (201, False)
    assert (Meter.objects.in_realm(realm).count(), stored(realm, "k").count()) == (1, 1)


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
def test_race_lost_for_good_says_to_come_back(api, realm, state):
    run(FAIL_TIMES.format(times=99, state=state))

    answer = api.post("meters", TOKENS, key="k")

    assert (answer.status_code, answer.json()["code"]) == (503, "SERVER.BUSY")
    assert answer["Retry-After"] == "1"
    assert answer.json()["error"]["retry_after"] == 1
    assert (Meter.objects.in_realm(realm).count(), stored(realm, "k").count()) == (0, 0)


# --- the end of a key ---------------------------------------------------------


def aged(realm, key, age):
    """Make the stored answer of a key older."""
    answer = stored(realm, key).get()
    stored(realm, key).update(expires_at=answer.expires_at - age)


def test_answer_is_kept_for_24_hours(api, realm):
    before = datetime.now(UTC)
    api.post("meters", TOKENS, key="k")
    after = datetime.now(UTC)

    expires = stored(realm, "k").get().expires_at
    assert timedelta(hours=24) == KEPT
    assert before + KEPT <= expires <= after + KEPT


@pytest.mark.parametrize(
    ("age", "again"),
    [(timedelta(hours=23, minutes=59), True), (timedelta(hours=24), False)],
)
def test_key_may_be_used_anew_after_24_hours(api, realm, age, again):
    api.post("meters", TOKENS, key="k")
    aged(realm, "k", age)

    assert replayed(api.post("meters", TOKENS, key="k")) is again


def test_key_used_anew_may_stand_for_another_body(api, realm):
    api.post("meters", TOKENS, key="k")
    aged(realm, "k", timedelta(hours=24))

    other = api.post("meters", {**TOKENS, "unit": "kilo"}, key="k")

    assert (other.status_code, replayed(other)) == (200, False)
    assert replayed(api.post("meters", {**TOKENS, "unit": "kilo"}, key="k"))
    assert api.post("meters", TOKENS, key="k").status_code == 409


def test_purge_deletes_what_ran_out_and_no_more(api, realm):
    for key in ("old", "older", "new"):
        api.post("meters", TOKENS, key=key)
    aged(realm, "old", timedelta(hours=24))
    aged(realm, "older", timedelta(hours=30))

    now = datetime.now(UTC)
    in_batches = [purge_answers(at=now, batch=1) for _ in range(2)]

    assert in_batches == [1, 1]
    assert list(
        StoredAnswer.objects.filter(realm=realm).values_list("key", flat=True)
    ) == ["new"]


# --- verbs with a key of their own --------------------------------------------


def test_token_is_issued_once_per_key(api, realm):
    body = {"principal_id": "acme", "user_id": "u-1"}

    first, again = (api.post("token/issue", body, key="k") for _ in range(2))
    other = api.post("token/issue", {**body, "user_id": "u-2"}, key="k")

    assert token_of(first) == token_of(again)
    assert (other.status_code, other.json()["code"]) == (409, "WRITE.INVALID_PAYLOAD")
    assert stored(realm, "k").count() == 0


# --- at once ------------------------------------------------------------------


THREADS, ROUNDS = 16, 4


def at_once(send, threads=THREADS):
    """Call `send(number)` in every thread at the same moment; return the results."""
    barrier = Barrier(threads)

    def work(number):
        try:
            connection.ensure_connection()
            barrier.wait(timeout=30)
            return send(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(threads)))


@pytest.fixture
def shared(committed_realm, at, by):
    """A client on rows that every thread sees."""
    return SignedClient(
        committed_realm, create_service_key(realm=committed_realm, at=at, by=by)
    )


def test_same_key_at_once_has_one_effect(shared, committed_realm):
    for number in range(ROUNDS):
        body = {"meter_code": f"tokens-{number}"}

        answers = at_once(
            lambda _, body=body, key=f"k-{number}": shared.post("meters", body, key=key)
        )

        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert [replayed(answer) for answer in answers].count(False) == 1
    made = (
        DomainEvent.objects.in_realm(committed_realm)
        .filter(kind="meter.created")
        .count()
    )
    print(f"\n{ROUNDS} races of {THREADS}: {made} effects")
    assert Meter.objects.in_realm(committed_realm).count() == ROUNDS
    assert changes(committed_realm) == ROUNDS


def test_other_keys_at_once_have_an_effect_each(shared, committed_realm):
    """The control: it is the key that holds the others back."""
    at_once(
        lambda number: shared.post(
            "meters", {"meter_code": f"m-{number}"}, key=f"k-{number}"
        )
    )

    assert Meter.objects.in_realm(committed_realm).count() == THREADS


def test_same_key_with_other_bodies_at_once(shared, committed_realm):
    """One body wins; every other is told so."""
    answers = at_once(
        lambda number: shared.post("meters", {"meter_code": f"m-{number}"}, key="k")
    )

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * (
        THREADS - 1
    )
    assert Meter.objects.in_realm(committed_realm).count() == 1


def test_failure_at_once_is_retried_by_the_others(shared, committed_realm):
    """All fail, each by itself; none is answered with another's failure."""
    body = {"feature_code": "chat", "feature_family_code": "none"}

    answers = at_once(lambda _: shared.post("features", body, key="k"))

    assert {answer.status_code for answer in answers} == {404}
    assert StoredAnswer.objects.filter(realm=committed_realm).count() == 0


def test_token_at_once_is_one_token(shared):
    body = {"principal_id": "acme", "user_id": "u-1"}

    answers = at_once(lambda _: shared.post("token/issue", body, key="k"))

    assert {answer.status_code for answer in answers} == {200}
    assert len({token_of(answer) for answer in answers}) == 1


# --- texts longer than an index holds -----------------------------------------


def test_path_longer_than_an_index_holds_is_an_unknown_id(api):
    path = "billing-plans/" + "".join(f"{number:05}" for number in range(800))

    assert api.patch(path, {"name": "x"}, key="k").status_code == 404


def test_bindings_longer_than_an_index_holds_are_a_write_like_any_other(
    realm, service_key
):
    client = RawClient(realm, service_key)
    bound = client.bound(principal_id=_ideograms(0), user_id=_ideograms(512))
    body = json.dumps(TOKENS).encode()

    first, again = (
        bound.send("POST", METERS, body, bound.signed("POST", METERS, body, "k"))
        for _ in range(2)
    )

    assert (replayed(first), replayed(again)) == (False, True)
    assert again.content == first.content


def _ideograms(first):
    """512 characters that PostgreSQL cannot make shorter."""
    return "".join(chr(0x4E00 + first + number * 7 % 20_000) for number in range(512))


def test_parts_of_an_identity_do_not_run_into_each_other():
    parts = [["ab", "c"], ["a", "bc"], ["abc", ""], ["", "abc"], ["a", "b", "c"]]

    assert len({identity_digest(scope) for scope in parts}) == len(parts)
