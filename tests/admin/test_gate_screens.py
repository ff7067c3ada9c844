from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import strip_tags

from catalog.services.meters import upsert_meter
from config.admin.values import instant_text
from config.tenancy.roles import ROLES
from gating.admin.words import (
    DENIAL_REASONS,
    per_window,
    reason_text,
)
from gating.lengths import age_text, duration_text
from gating.models import (
    Counter,
    Denial,
    GatePolicy,
    GatePolicyBundle,
    Lease,
    Rating,
)
from gating.services.denials import GateDenied
from gating.services.policies import delete_policy
from grants.models import GrantAllocation, Wallet
from tests.admin.pages import (
    answers,
    change_url,
    errors_of,
    messages_of,
    why,
)
from tests.gating.gate import Gate

BUNDLES = "/admin/gating/gatepolicybundle/"
POLICIES = "/admin/gating/gatepolicy/"
LEASES = "/admin/gating/lease/"
COUNTERS = "/admin/gating/counter/"
RATINGS = "/admin/gating/rating/"
DENIALS = "/admin/gating/denial/"
RECORDS = (LEASES, COUNTERS, RATINGS, DENIALS)
LISTS = (BUNDLES, POLICIES, *RECORDS)


@pytest.fixture
def gate(realm, account, user, at, by):
    """A gate with a price, a plan of its own bundle, and credit to spend."""
    gate = Gate(realm, account, user, at, by)
    gate.feature("chat", price=2_000_000, per=1000, cost=400, unit="token")
    pro = gate.bundle("pro", name="Pro limits")
    gate.quota(1000, bundle=pro, unit="token", name="Daily tokens")
    gate.plan("pro", bundle="pro", mode="prepaid")
    gate.credit(10_000_000)
    return gate


@pytest.fixture
def ops(staff):
    return staff("Ops")


def queries_of(client, path):
    client.get(path)
    with CaptureQueriesContext(connection) as captured:
        page = client.get(path)
    assert page.status_code == 200
    return len(captured)


def text_of(page):
    return " ".join(strip_tags(page.text.replace("<", " <")).split())


def use(gate):
    """A committed lease, an open one, and a denial."""
    closed = gate.lease(100)
    gate.commit(closed, 50)
    held = gate.lease(200)
    with pytest.raises(GateDenied):
        gate.authorize(5000)
    return gate.row(held)


def bundle_answers(**own):
    plain = {
        "name": "Pro", "status": "active", "metadata": "{}",
        "policies-TOTAL_FORMS": "0", "policies-INITIAL_FORMS": "0",
    }  # fmt: skip
    return answers(**{**plain, **own})


def policy_answers(**own):
    plain = {
        "name": "Chats", "description": "", "feature_code": "chat", "kind": "quota",
        "subject_scope": "user", "unit": "token", "window_sec": "86400",
        "limit_minor": "1000", "limit_count": "", "status": "assignable",
        "enforcement_mode": "reserve", "metadata": "{}",
    }  # fmt: skip
    return answers(**{**plain, **own})


@pytest.mark.parametrize("path", LISTS)
def test_list_reads_the_same_for_one_row_and_three(ops, gate, path):
    use(gate)
    one = queries_of(ops, path)

    for name in ("globex", "initech"):
        other = gate.of_principal(name)
        other.plan(f"plan-{name}", bundle="pro", mode="prepaid")
        other.credit(10_000_000)
        use(other)
        other.quota(1, bundle=other.bundle(f"limits-{name}"), feature=f"of-{name}")

    for model in (Lease, Rating, Denial, Counter, GatePolicy, GatePolicyBundle):
        assert model.objects.count() >= 3
    assert queries_of(ops, path) == one


def test_pages_read_the_same_for_one_row_of_their_tables_and_three(
    ops, gate, realm, at, by
):
    bundle = GatePolicyBundle.objects.get(bundle_key="pro")
    one_line = gate.rating(gate.commit(gate.lease(1), 1))
    one = [queries_of(ops, change_url(row)) for row in (bundle, one_line)]

    gate.rate(10, bundle=bundle)
    gate.seats(3, bundle=bundle)
    for code in ("in", "out"):
        upsert_meter(realm=realm, meter_code=code, feature_code="chat", at=at, by=by)
        gate.price(code, 5)
    meters = [("chat", 1), ("in", 2), ("out", 3)]
    three_lines = gate.rating(gate.commit(gate.lease(1), 1, meters=meters))

    assert three_lines.lines.count() == 3
    assert [queries_of(ops, change_url(row)) for row in (bundle, three_lines)] == one


@pytest.mark.parametrize("path", RECORDS)
def test_empty_list_says_what_to_do(ops, realm, path):
    page = ops.get(path)

    assert page.context["cl"].model_admin.empty_message
    assert page.context["cl"].model_admin.empty_message in page.text


@pytest.mark.parametrize("role", ROLES)
def test_every_role_looks_and_only_ops_defines(staff, gate, role):
    client = staff(role)
    may = role == "Ops"
    held = use(gate)
    bundle = GatePolicyBundle.objects.get(bundle_key="pro")
    policy = GatePolicy.objects.get(name="Daily tokens")
    rows = [
        bundle, policy, held, Counter.objects.get(), Rating.objects.get(),
        Denial.objects.get(),
    ]  # fmt: skip

    looked = [client.get(path).status_code for path in LISTS]
    opened = [client.get(change_url(row)).status_code for row in rows]
    written = [
        client.post(
            f"{BUNDLES}add/",
            bundle_answers(realm=gate.realm.pk, bundle_key="new"),
        ),
        client.post(change_url(bundle), bundle_answers(name="Renamed")),
        client.post(
            f"{POLICIES}add/", policy_answers(bundle=bundle.pk, name="Another")
        ),
        client.post(
            change_url(policy), policy_answers(name="Daily tokens", limit_minor="7")
        ),
        client.post(f"{POLICIES}{policy.pk}/delete/", why()),
    ]

    assert looked + opened == [200] * 12
    assert [page.status_code for page in written] == [302 if may else 403] * 5
    assert GatePolicyBundle.objects.filter(bundle_key="new").exists() == may
    assert GatePolicy.objects.filter(pk=policy.pk).exists() != may


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("path", RECORDS)
def test_records_are_not_typed_over(staff, gate, role, path):
    use(gate)
    client = staff(role)
    row = client.get(path).context["cl"].result_list[0]

    assert client.get(f"{path}add/").status_code == 403
    assert client.post(change_url(row), answers(state="closed")).status_code == 403
    assert client.post(f"{path}{row.pk}/delete/", why()).status_code == 403


@pytest.mark.parametrize("path", LISTS)
def test_every_list_is_exported(staff, gate, path):
    use(gate)

    exported = staff("Auditor").post(f"{path}export/", {"format": "0", "resource": ""})

    assert exported.status_code == 200
    header, first, *_ = exported.content.decode().splitlines()
    assert "realm" in header
    assert gate.realm.pk in first
    assert staff("Support").post(f"{path}export/", {"format": "0"}).status_code == 403


# Bundles


def test_bundle_is_created_by_its_verb_with_its_explanation(ops, realm):
    response = ops.post(
        f"{BUNDLES}add/", bundle_answers(realm=realm.pk, bundle_key=" PRO ", name="Pro")
    )

    assert response.status_code == 302
    bundle = GatePolicyBundle.objects.get(realm=realm, bundle_key="pro")
    entry = GatePolicyBundle.history.get(id=bundle.pk)
    assert (entry.operator, entry.reason) == (ops.user.username, "asked for")


def test_bundle_of_a_key_in_use_is_refused(ops, gate):
    response = ops.post(
        f"{BUNDLES}add/", bundle_answers(realm=gate.realm.pk, bundle_key="Pro")
    )

    assert errors_of(response) == {"__all__": ["This realm has a bundle of that key."]}
    assert GatePolicyBundle.objects.get(bundle_key="pro").name == "Pro limits"


def test_bundle_says_what_it_holds_and_whom_it_governs(ops, gate):
    bundle = GatePolicyBundle.objects.get(bundle_key="pro")
    default = gate.default_bundle()

    page = text_of(ops.get(change_url(bundle)))

    assert "Governs Plan pro" in page
    assert "Daily tokens chat 1,000 tokens per day Each user Assignable" in page
    assert "Everybody without another bundle" in text_of(ops.get(change_url(default)))


def test_bundle_stays_while_it_holds_policies_or_governs(ops, gate):
    bundle = GatePolicyBundle.objects.get(bundle_key="pro")
    delete = f"{BUNDLES}{bundle.pk}/delete/"

    full = text_of(ops.post(delete, why()))
    GatePolicy.objects.get(name="Daily tokens")
    ops.post(
        f"{POLICIES}{GatePolicy.objects.get(name='Daily tokens').pk}/delete/", why()
    )
    named = text_of(ops.post(delete, why()))

    assert "pro stays, because it holds 1 policy. Delete them first." in full
    assert "The active plan pro names the bundle pro." in named
    assert GatePolicyBundle.objects.filter(pk=bundle.pk).exists()


def test_empty_bundle_is_deleted_with_a_reason(ops, gate):
    bundle = gate.bundle("spare")

    response = ops.post(f"{BUNDLES}{bundle.pk}/delete/", why())

    assert response.status_code == 302
    assert not GatePolicyBundle.objects.filter(pk=bundle.pk).exists()
    gone = GatePolicyBundle.history.filter(id=bundle.pk).latest("history_id")
    assert (gone.history_type, gone.ticket_id) == ("-", "T-7")


def test_default_bundle_offers_no_deletion(ops, gate):
    url = change_url(gate.default_bundle())
    assert "/delete/" not in ops.get(url).text
    delete = url.replace("change", "delete")
    assert ops.get(delete).status_code == 403
    assert ops.post(delete, why()).status_code == 403


# Policies


@pytest.mark.parametrize(
    ("typed", "allows"),
    [
        ({}, "1,000 tokens per day"),
        ({"limit_minor": ""}, "Unlimited tokens per day"),
        ({"limit_minor": "0", "window_sec": "2592000"}, "0 tokens per 30 days"),
        (
            {"kind": "rate", "limit_count": "60", "window_sec": "60"},
            "60 calls per minute",
        ),
        (
            {"kind": "rate", "limit_count": "1", "window_sec": "5400"},
            "1 call per 1 hour 30 minutes",
        ),
        (
            {"kind": "seats", "unit": "seat", "limit_count": "5", "window_sec": "0"},
            "5 seats",
        ),
        (
            {"kind": "seats", "unit": "seat", "window_sec": "86400"},
            "Unlimited seats per day",
        ),
    ],
)
def test_policy_is_created_and_read_in_words(ops, gate, typed, allows):
    bundle = gate.bundle("spare")

    response = ops.post(f"{POLICIES}add/", policy_answers(bundle=bundle.pk, **typed))

    assert response.status_code == 302
    policy = GatePolicy.objects.get(name="Chats")
    assert (policy.realm_id, policy.bundle_id) == (gate.realm.pk, bundle.pk)
    assert f"Allows {allows} " in text_of(ops.get(change_url(policy)))
    entry = GatePolicy.history.get(id=policy.pk)
    assert (entry.operator, entry.ticket_id) == (ops.user.username, "T-7")


@pytest.mark.parametrize(
    ("typed", "field", "sentence"),
    [
        (
            {"kind": "rate"},
            "limit_count",
            "A limit of calls needs a number; 0 blocks every call.",
        ),
        (
            {"kind": "rate", "limit_count": "-1"},
            "__all__",
            "A limit is 0 or more; none is unlimited.",
        ),
        ({"kind": "seats"}, "unit", "Seats are counted in seats: write seat."),
        (
            {"window_sec": "0"},
            "window_sec",
            "A window lasts 1 second or more, except that of seats.",
        ),
        ({"limit_minor": "1.5"}, "limit_minor", "Enter a whole number."),
        ({"feature_code": "a b"}, "__all__", "Name a feature's code, or * for any."),
        ({"name": "Daily tokens"}, "name", "There is a policy Daily tokens already."),
        ({"metadata__feature_code": "A B"}, "metadata__feature_code", None),
        ({"audit_ticket_id": ""}, "audit_ticket_id", "This field is required."),
    ],
)
def test_policy_that_cannot_be_is_refused_on_its_field(
    ops, gate, typed, field, sentence
):
    bundle = gate.bundle("spare")

    response = ops.post(f"{POLICIES}add/", policy_answers(bundle=bundle.pk, **typed))

    assert response.status_code == 200
    errors = errors_of(response)
    assert list(errors) == [field]
    assert sentence is None or errors[field] == [sentence]
    assert messages_of(response) == []
    assert not GatePolicy.objects.filter(bundle=bundle).exists()


def test_second_default_policy_of_a_shape_is_refused(ops, gate):
    typed = {"bundle": gate.default_bundle().pk, "status": "default"}
    ops.post(f"{POLICIES}add/", policy_answers(**typed))

    response = ops.post(f"{POLICIES}add/", policy_answers(**typed, name="Again"))

    [sentence] = errors_of(response)["status"]
    assert "The default policy Chats has that feature" in sentence
    assert not GatePolicy.objects.filter(name="Again").exists()


def test_changing_the_kind_drops_the_hidden_limit(ops, gate):
    policy = GatePolicy.objects.get(name="Daily tokens")

    response = ops.post(
        change_url(policy),
        policy_answers(
            kind="rate", limit_minor="1000", limit_count="5", window_sec="60"
        ),
    )

    assert response.status_code == 302
    policy.refresh_from_db()
    assert (policy.kind, policy.limit_minor, policy.limit_count) == ("rate", None, 5)


def test_viewer_reads_a_policy_in_words(staff, gate):
    policy = GatePolicy.objects.get(name="Daily tokens")

    page = staff("Support").get(change_url(policy))

    assert "Allows 1,000 tokens per day" in text_of(page)
    assert "Enforcement Hold at authorize: never over-admits" in text_of(page)
    assert "limit_minor" not in page.text


def test_bundle_of_a_policy_is_fixed(ops, gate):
    policy = GatePolicy.objects.get(name="Daily tokens")
    other = gate.bundle("spare")

    ops.post(change_url(policy), policy_answers(bundle=other.pk, limit_minor="7"))

    policy.refresh_from_db()
    assert (policy.bundle.bundle_key, policy.limit_minor) == ("pro", 7)


def test_policy_for_a_feature_that_is_not_there_warns(ops, gate):
    bundle = gate.bundle("spare")

    response = ops.post(
        f"{POLICIES}add/", policy_answers(bundle=bundle.pk, feature_code="caht")
    )

    sentence = (
        f"The realm {gate.realm.pk} has no feature caht yet: the policy limits nothing "
        "until it does."
    )
    assert messages_of(response)[0] == ("warning", sentence)


# Counters


def test_counter_shows_use_beside_its_limit(ops, gate):
    use(gate)

    listed = text_of(ops.get(COUNTERS))
    page = text_of(ops.get(change_url(Counter.objects.get())))

    row = (
        "chat acme u-1 Quantity 50 tokens 200 tokens 1,000 tokens 2026-03-10 00:00:00 "
        "2026-03-11 00:00:00"
    )
    assert row in listed
    assert "Left 750 tokens" in page


def test_counter_that_policies_share_shows_each_limit(ops, gate):
    shared = {"counter_key": "shared", "params": {}}
    pro = GatePolicyBundle.objects.get(bundle_key="pro")
    gate.quota(100, bundle=pro, name="A", metadata=shared)
    gate.quota(None, bundle=pro, name="B", metadata=shared)
    gate.lease(10)

    counter = Counter.objects.get(key="shared")

    page = text_of(ops.get(change_url(counter)))
    assert "100 calls by A Unlimited by B" in page
    assert "Left 90 calls" in page


def test_counter_without_its_policy_says_so(ops, gate):
    use(gate)
    policy = GatePolicy.objects.get(name="Daily tokens")
    ops.post(f"{POLICIES}{policy.pk}/delete/", why())

    page = text_of(ops.get(change_url(Counter.objects.get())))

    assert "Limit No policy counts here any more" in page


def test_counters_of_the_account_and_of_rates_read_plainly(ops, gate):
    pro = GatePolicyBundle.objects.get(bundle_key="pro")
    gate.rate(10, bundle=pro, name="A minute", subject_scope="account")
    gate.lease(1)

    page = text_of(ops.get(change_url(Counter.objects.get(kind="rate"))))

    assert "Counts for The whole account" in page
    assert "Used 1 call Held 0 calls Limit 10 calls Left 9 calls" in page


def test_counters_are_told_apart_by_their_window(ops, gate):
    past = use(gate).counter_ids
    now = gate.at_instant(timezone.now())
    now.lease(1)

    current = ops.get(COUNTERS, {"window": "now"}).context["cl"].result_list
    over = ops.get(COUNTERS, {"window": "past"}).context["cl"].result_list

    assert [row.pk for row in over] == past
    assert len(current) == 1
    assert current[0].pk not in past


# Ratings


def test_rating_is_read_in_words(ops, gate):
    use(gate)
    rating = Rating.objects.get()

    page = text_of(ops.get(change_url(rating)))

    assert "Quantity 50 tokens Price $0.10 Our cost $0.02" in page
    assert "Applied All of it" in page
    assert "Paid by the balance $0.10 Owed $0.00" in page
    assert "1 chat 50 tokens $0.10 $0.02 Priced" in page


def test_reasons_of_a_rating_are_words(ops, gate):
    lease = gate.lease(10)
    gate.cancel(lease)
    gate.commit(lease, 10)

    page = text_of(ops.get(RATINGS))

    assert "Nothing The lease had already ended" in page


def test_report_without_a_lease_is_read_in_words(ops, gate):
    gate.ingest(50)
    late = gate.later(days=3)
    late.ingest(7, occurred_at=gate.at, metadata={"run": "nightly"})
    first, second = Rating.objects.filter(realm=gate.realm).order_by("pk")

    now = text_of(ops.get(change_url(first)))
    later = text_of(ops.get(change_url(second)))

    assert "Reported as Report without a lease" in now
    assert f"Reported at {instant_text(gate.at)}; nobody said when it occurred" in now
    assert "Because Reported without a lease" in now
    assert f"When {instant_text(gate.at)}" in later
    told = f"{instant_text(late.at)}, 3 days after it occurred"
    assert f"Reported at {told}; the caller said when it occurred" in later
    assert "nightly" in later


def test_rating_is_found_by_what_it_was_paid_under(ops, gate):
    use(gate)
    rating = Rating.objects.get()

    page = ops.get(RATINGS, {"q": f"gate_rating:{rating.pk}"})

    assert list(page.context["cl"].result_list) == [rating]


# Denials


def test_denial_is_a_sentence_with_the_numbers_in_it(ops, gate):
    use(gate)
    with pytest.raises(GateDenied):
        gate.authorize(5000)
    denial = Denial.objects.get()

    listed = text_of(ops.get(DENIALS))
    page = ops.get(change_url(denial))

    assert "2026-03-10 12:00:00 acme u-1 chat Quota Daily tokens: 50 of 1,000" in listed
    assert "5,000 asked. 2 times in 1 minute" in listed
    assert "Reason Quota used up" in text_of(page)
    assert '<pre class="plangate-json">' in page.text
    assert "&quot;estimate_minor&quot;: &quot;5000&quot;" in page.text


def test_denial_of_a_feature_that_is_not_there_says_so(ops, gate):
    with pytest.raises(GateDenied):
        gate.authorize(1, feature="nope")

    page = text_of(ops.get(change_url(Denial.objects.get())))

    assert "Feature Unknown feature" in page


def test_denials_are_filtered_by_their_reason(ops, gate):
    use(gate)
    with pytest.raises(GateDenied):
        gate.authorize(1, feature="nope")

    page = ops.get(DENIALS, {"reason": "feature_not_found"})

    assert [row.reason for row in page.context["cl"].result_list] == [
        "feature_not_found"
    ]


def test_denials_are_filtered_by_their_time(ops, gate):
    use(gate)

    def found(**typed):
        query = {f"last_at_{name}": value for name, value in typed.items()}
        return ops.get(DENIALS, query).context["cl"].result_count

    assert found(from_0="2026-03-10") == 1
    assert found(from_0="2026-03-10", from_1="12:00", to_0="2026-03-10") == 1
    assert found(from_0="2026-03-10", from_1="12:01") == 0
    assert found(to_0="2026-03-10", to_1="11:59") == 0
    assert found(from_0="2026-03-11") == 0


def test_time_that_cannot_be_read_is_told(ops, gate):
    use(gate)

    page = ops.get(DENIALS, {"last_at_from_0": "yesterday"})

    assert "yesterday: Enter a valid date." in text_of(page)
    assert page.context["cl"].result_count == 0


@pytest.mark.parametrize("path", RECORDS)
@pytest.mark.parametrize("term", ["acme", "u-1", "chat"])
def test_records_are_found_by_what_people_say(ops, gate, path, term):
    use(gate)
    elsewhere = gate.of_principal("globex", user="w-2")
    elsewhere.feature("draw", price=1)

    found = ops.get(path, {"q": term}).context["cl"].result_count
    missing = ops.get(path, {"q": "globex"}).context["cl"].result_count

    assert found >= 1
    assert missing == 0


@pytest.mark.parametrize(
    ("path", "term"),
    [
        (BUNDLES, "pro"),
        (BUNDLES, "Daily tokens"),
        (POLICIES, "Daily"),
        (POLICIES, "chat"),
    ],
)
def test_definitions_are_found_by_what_people_say(ops, gate, path, term):
    assert ops.get(path, {"q": term}).context["cl"].result_count == 1


def test_lease_is_found_by_its_reference_from_anywhere(ops, gate):
    held = gate.row(gate.lease(1, lease="job-77"))

    found = text_of(ops.get("/admin/search/", {"s": "job-77", "extended": "1"}))

    assert str(held) in found
    assert ops.get(LEASES, {"q": "job-77"}).context["cl"].result_list[0] == held


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (60, "1 minute"),
        (86_400, "1 day"),
        (604_800, "7 days"),
        (90_061, "1 day 1 hour 1 minute 1 second"),
        (2**31 - 1, "24,855 days 3 hours 14 minutes 7 seconds"),
    ],
)
def test_windows_read_exactly(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "per second"),
        (3600, "per hour"),
        (7200, "per 2 hours"),
        (5400, "per 1 hour 30 minutes"),
    ],
)
def test_limits_name_their_window(seconds, text):
    assert per_window(seconds) == text


def test_ages_keep_their_two_largest_units():
    assert age_text(timedelta(days=3, hours=2, minutes=59)) == "3 days 2 hours"
    assert age_text(timedelta(seconds=-5)) == "0 seconds"


def test_reasons_read_in_words():
    assert reason_text("quota_exhausted", DENIAL_REASONS) == "Quota used up"
    assert reason_text("brand_new", DENIAL_REASONS) == "Brand new"


def test_records_are_called_as_a_person_would(ops, gate):
    held = use(gate)
    when = "2026-03-10 12:00 UTC"

    assert str(held) == f"Hold of chat for u-1 since {when}"
    assert str(Denial.objects.get()) == f"Denial of chat to u-1 on {when}"
    assert str(Rating.objects.get()) == f"Rating of chat for u-1 on {when}"
    assert str(Counter.objects.get(kind="quota")) == (
        "Quantity of chat in acme until 2026-03-11 00:00 UTC"
    )
    for row in (
        held,
        Denial.objects.get(),
        Rating.objects.get(),
        Counter.objects.get(kind="quota"),
    ):
        page = ops.get(change_url(row)).text
        assert str(row) in page.split("<h1", 1)[1].split("</h1>")[0]
        assert "history/" not in page


def test_spend_leads_to_the_rating_that_it_paid(ops, gate):
    use(gate)
    rating = Rating.objects.get()

    use_of_lot = GrantAllocation.objects.get()
    for path in (
        change_url(use_of_lot.lot),
        change_url(Wallet.objects.get(pk=use_of_lot.user_id)),
    ):
        assert change_url(rating) in ops.get(path).text


def test_deleted_bundle_keeps_its_name_in_the_history(ops, gate):
    empty = gate.bundle("spare")
    url = change_url(empty)

    assert ops.post(url.replace("change", "delete"), why()).status_code == 302

    assert "History of spare" in text_of(ops.get(url.replace("change", "history")))
    assert "Policy bundle spare deleted by" in text_of(ops.get("/admin/"))


def test_disabled_bundle_is_not_said_to_fall_back(ops, gate):
    bundle = GatePolicyBundle.objects.get(bundle_key="pro")

    page = text_of(ops.get(change_url(bundle)))

    assert "fall back" not in page
    assert "is refused, unless another of their plans names an active one" in page


# Seats that are billed


SEATS = {
    "kind": "seats", "unit": "seat", "window_sec": "0", "limit_count": "5",
    "metadata__billing_feature_code": "chat", "metadata__billing_meter_code": "chat",
    "metadata__billing_mode": "assigned",
}  # fmt: skip
TERMS = {
    "billing_feature_code": "chat",
    "billing_meter_code": "chat",
    "billing_mode": "assigned",
}


def seat_rating(gate):
    """The rating of a seat of March 2026."""
    policy = gate.seats(5, bundle=gate.bundle("pro"), name="Team", metadata=TERMS)
    gate.lease(1)
    gate.at_instant(gate.at + timedelta(days=30)).bill()
    return Rating.objects.get(rating_kind="seats"), policy


def test_seats_policy_is_told_how_it_bills_in_fields_of_their_own(ops, gate):
    bundle = gate.bundle("spare")

    form = ops.get(f"{POLICIES}add/")
    response = ops.post(f"{POLICIES}add/", policy_answers(bundle=bundle.pk, **SEATS))

    for words in ("Billed as feature", "Billed on meter", "Which seats are billed"):
        assert words in text_of(form)
    assert response.status_code == 302
    policy = GatePolicy.objects.get(name="Chats")
    assert policy.metadata == TERMS
    assert (
        "Seats are billed Every seat that is assigned, per calendar month, as chat on meter chat"
        in text_of(ops.get(change_url(policy)))
    )


def test_seats_policy_that_could_bill_nothing_is_refused_on_its_field(ops, gate):
    typed = SEATS | {"bundle": gate.bundle("spare").pk}

    gone = ops.post(
        f"{POLICIES}add/",
        policy_answers(**typed | {"metadata__billing_meter_code": "gone"}),
    )
    part = ops.post(
        f"{POLICIES}add/", policy_answers(**typed | {"metadata__billing_mode": ""})
    )

    assert list(errors_of(gone)) == ["metadata__billing_meter_code"]
    assert list(errors_of(part)) == ["metadata__billing_mode"]
    assert not GatePolicy.objects.filter(name="Chats").exists()


def test_another_kind_drops_the_hidden_billing(ops, gate):
    bundle = gate.bundle("spare")
    typed = SEATS | {"kind": "quota", "unit": "token", "window_sec": "86400"}

    response = ops.post(f"{POLICIES}add/", policy_answers(bundle=bundle.pk, **typed))

    assert response.status_code == 302
    assert GatePolicy.objects.get(name="Chats").metadata == {}


def test_viewer_reads_how_seats_are_billed(staff, gate):
    policy = gate.seats(5, bundle=gate.bundle("pro"), seconds=86_400)

    page = staff("Support").get(change_url(policy))

    assert "Seats are billed Not billed" in text_of(page)
    assert "metadata__billing" not in page.text


def test_rating_of_a_seat_is_read_in_words(ops, gate):
    rating, policy = seat_rating(gate)

    page, listed = text_of(ops.get(change_url(rating))), text_of(ops.get(RATINGS))

    assert "Reported as Seat of a window" in page
    assert (
        "Billed for the window (UTC) 2026-03-01 00:00:00 to 2026-04-01 00:00:00 UTC"
        in page
    )
    assert "Which seats are billed Every seat that is assigned" in page
    assert "Had the seat in it since 2026-03-10 12:00:00 UTC" in page
    assert "Billed under policy Team" in page
    assert "Lease" not in page.split("Seat", 1)[0].split("User u-1")[1]
    assert "Seat of a window" in listed
    assert change_url(policy) in ops.get(change_url(rating)).text


def test_rating_outlives_policy_and_lease(ops, gate):
    rating, policy = seat_rating(gate)
    delete_policy(policy=policy, at=gate.at, by=gate.by)
    used = gate.rating(gate.commit(gate.lease(1), 1))
    Lease.objects.all().delete()

    assert "Team (deleted)" in text_of(ops.get(change_url(rating)))
    page = text_of(ops.get(change_url(used)))
    assert "Lease No longer kept: it ended too long ago" in page
    assert ops.get(RATINGS, {"q": "acme"}).status_code == 200
    exported = ops.post(f"{RATINGS}export/", {"format": "0", "resource": ""})
    assert exported.status_code == 200
