"""Back-test, the page of a bundle: the form, the result, and who may see it."""

import pytest

from tests.admin.pages import change_url
from tests.gating.conftest import gate  # noqa: F401 - a fixture.
from tests.gating.gate import row_counts
from tests.gating.refusals import refusal


@pytest.fixture
def bundle(gate):  # noqa: F811 - the fixture's argument.
    """Four admissions of 10 on chat under the bundle pro, and a denial of 30."""
    gate.feature()
    pro = gate.bundle("pro")
    gate.plan("pro", bundle="pro", mode="postpaid")
    gate.quota(50, bundle=pro, name="chats")
    gate.rate(100, bundle=pro, name="per minute")
    for minute in range(4):
        gate.later(minutes=minute).lease(10)
    refusal(gate.later(minutes=5).authorize, 30)
    return pro


def url(bundle):
    return change_url(bundle).removesuffix("change/") + "back-test/"


def answers(**own):
    """The form as it is sent, with other answers in it."""
    return {
        "start_0": "2026-03-10", "start_1": "00:00:00", "end_0": "2026-03-11", "end_1": "00:00:00",
        "mode": "replay", "replaced_by": "", "principal": "", "feature_code": "",
        "p0_limit": "50", "p0_window": "86400", "p0_enforcement": "reserve",
        "p1_limit": "100", "p1_window": "60",
    } | own  # fmt: skip


def text_of(response):
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_the_button_leads_to_the_form(staff, bundle):
    client = staff("Support")

    assert url(bundle) in client.get(change_url(bundle)).content.decode()
    page = text_of(client.get(url(bundle)))
    assert "Back-test: pro" in page
    assert 'name="p0_limit" value="50"' in page
    assert "What would have come of it" not in page


def test_a_lower_limit_is_told_in_tables_and_sentences(staff, bundle):
    before = row_counts()

    page = text_of(staff("Support").post(url(bundle), answers(p0_limit="20")))

    assert "5 decisions on record, 5 decided again." in page
    assert (
        "2 of those admitted would be denied, and 0 of those denied admitted." in page
    )
    assert "Quota used up: 2" in page
    assert (
        "Blocked at 2026-03-10 12:02:00 UTC: Quota chats: 0 of 20 used and 20 held"
        in page
    )
    assert row_counts() == before


def test_the_present_bundle_changes_nothing_and_says_so(staff, bundle):
    page = text_of(staff("Support").post(url(bundle), answers()))

    assert "Under the draft every verdict stays as it was." in page
    assert "No verdict flips." in page


def test_a_policy_left_out_and_another_bundle(staff, bundle, gate):  # noqa: F811
    small = gate.bundle("small")
    gate.quota(10, bundle=small, name="small chats")
    client = staff("Ops")

    without = text_of(client.post(url(bundle), answers(p0_left_out="on")))
    other = text_of(client.post(url(bundle), answers(replaced_by=str(small.pk))))

    assert "No quota policy: 4" in without
    assert "Quota small chats" in other


def test_an_empty_period_says_what_to_do(staff, bundle):
    page = text_of(
        staff("Support").post(
            url(bundle), answers(start_0="2026-01-01", end_0="2026-01-02")
        )
    )

    assert "No decisions are on record in this period." in page


@pytest.mark.parametrize(
    ("own", "field", "sentence"),
    [
        ({"end_0": "2026-03-09"}, None, "The range must end after it starts."),
        ({"end_0": "2026-09-09"}, None, "92 days at most"),
        ({"p0_window": "0"}, "p0_window", "between 1 and"),
        ({"p1_limit": ""}, "p1_limit", "This field is required."),
        ({"principal": "nobody"}, "principal", "No account has the principal nobody."),
        ({"p0_limit": "-1"}, "p0_limit", "greater than or equal to 0"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(staff, bundle, own, field, sentence):
    response = staff("Support").post(url(bundle), answers(**own))

    errors = response.context["form"].errors
    assert sentence in str(errors)
    if field is not None:
        assert list(errors) == [field]


def test_one_account_and_feature(staff, bundle, gate):  # noqa: F811
    gate.of_principal("globex").lease(10)
    client = staff("Support")

    one = text_of(client.post(url(bundle), answers(principal="acme")))
    none = text_of(client.post(url(bundle), answers(feature_code="draw")))

    assert "5 decisions on record" in one
    assert "No decisions are on record" in none


def test_only_who_may_look_at_decisions(staff, bundle):
    assert staff().get(url(bundle)).status_code == 403
    assert staff("Auditor").get(url(bundle)).status_code == 200


def test_a_bundle_that_is_gone(staff, bundle):
    address = url(bundle).replace(
        str(bundle.pk), "01990000-0000-7000-8000-000000000000"
    )

    assert staff("Support").get(address).status_code == 302
