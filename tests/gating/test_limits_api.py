import pytest
from vlunaai.generated import gate_models as wire

from tests.gating.answers import bad, good


def test_limits_list_what_the_user_is_entitled_to(priced, signed):
    priced.feature("video", family="media")
    signed.post(
        "gate/authorize", {"feature_code": "chat", "estimated_quantity_minor": "75"}
    )

    plain = good(signed.get("gate/limits"), wire.FeatureLimitListEnvelope)["data"]
    one = good(
        signed.get("gate/limits", feature_code="chat", expand="quotas,rates"),
        wire.FeatureLimitListEnvelope,
    )["data"]

    assert plain == [
        {
            "feature_code": "chat",
            "feature_family_code": "ai",
            "unit": "unit",
            "meters": ["chat"],
        },
        {
            "feature_code": "video",
            "feature_family_code": "media",
            "unit": "unit",
            "meters": ["video"],
        },
    ]
    window = one[0]["quotas"][0]
    assert (window["limit_minor"], window["used_minor"], window["reserved_minor"]) == (
        "500",
        "0",
        "75",
    )
    assert (one[0]["rates"][0]["limit_minor"], one[0]["rates"][0]["used_minor"]) == (
        "100",
        "1",
    )
    assert [
        each["feature_code"]
        for each in signed.get("gate/limits", feature_family_code="media").json()[
            "data"
        ]
    ] == ["video"]


def test_an_unlimited_quota_is_minus_one(gate, signed):
    gate.feature()

    assert (
        signed.get("gate/limits", expand="quotas").json()["data"][0]["quotas"][0][
            "limit_minor"
        ]
        == "-1"
    )


def test_without_entitlement_the_lists_are_empty(priced, signed):
    from billing.models import PlanEntitlement
    from config.tenancy.history import auditing

    with auditing(priced.by, at=priced.at):
        PlanEntitlement.objects.filter(realm=priced.realm).delete()

    assert signed.get("gate/limits").json()["data"] == []
    assert signed.get("gate/meters").json()["data"] == []


def test_meters_show_price_limits_and_coverage(priced, signed):
    everything = "expand[]=limits&expand[]=pricing&expand[]=coverage"
    data = good(signed.get(f"gate/meters?{everything}"), wire.MeterLimitListEnvelope)[
        "data"
    ]

    meter = data[0]
    assert (meter["meter_code"], meter["features"], meter["feature_family_codes"]) == (
        "chat",
        ["chat"],
        ["ai"],
    )
    assert meter["pricing"]["unit_price_xusd"] == "10"
    assert meter["coverage"] | {"as_of": None} == {
        "basis": "xusd",
        "balance_xusd": "10000",
        "balance_limited": True,
        "max_quantity_minor_estimated": "1000",
        "optimistic_quantity_minor": "1000",
        "advisory": True,
        "as_of": None,
    }
    assert len(meter["quotas"]) == len(meter["rates"]) == 1


def test_a_free_price_is_not_limited_by_balance(gate, signed):
    gate.feature(price=0)

    coverage = good(
        signed.get("gate/meters", expand="coverage"), wire.MeterLimitListEnvelope
    )["data"][0]["coverage"]

    assert (coverage["balance_limited"], coverage["max_quantity_minor_estimated"]) == (
        False,
        None,
    )


def coverage_by(signed, name):
    path = (
        f"gate/meters?expand=coverage&coverage_basis=budget&coverage_budget_id={name}"
    )
    document = good(signed.get(path), wire.MeterLimitListEnvelope)
    return document["data"][0]["coverage"]


def test_coverage_may_be_that_of_a_budget(priced, signed):
    budget = priced.budget(1000)
    priced.lease(25, budget="trip")

    for name in ("trip", budget.pk):
        coverage = coverage_by(signed, name)
        assert (coverage["basis"], coverage["budget_id"]) == ("budget", str(budget.pk))
        assert (coverage["balance_xusd"], coverage["balance_limited"]) == ("750", True)
        assert coverage["max_quantity_minor_estimated"] == "75"


def test_a_budget_beyond_its_limit_covers_nothing(gate, signed):
    gate.feature(price=10)
    gate.plan(mode="postpaid")
    gate.budget(100)
    gate.commit(gate.lease(75, budget="trip"), 75)

    coverage = coverage_by(signed, "trip")

    assert (coverage["balance_xusd"], coverage["max_quantity_minor_estimated"]) == (
        "0",
        "0",
    )


def test_an_unlimited_budget_limits_no_coverage(priced, signed):
    priced.budget(None)

    coverage = coverage_by(signed, "trip")

    assert (coverage["balance_limited"], coverage["max_quantity_minor_estimated"]) == (
        False,
        None,
    )


def test_an_unpriced_meter_has_no_price_to_show(gate, signed):
    gate.feature()

    assert set(
        signed.get("gate/meters", expand="pricing,coverage").json()["data"][0]
    ) == {"meter_code", "unit", "features", "feature_family_codes"}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("expand=nothing", "VALIDATION.INVALID_INPUT"),
        ("coverage_basis=budget", "VALIDATION.INVALID_INPUT"),
        ("coverage_basis=budget&coverage_budget_id=b", "RESOURCE.NOT_FOUND"),
        ("nothing=1", "VALIDATION.INVALID_INPUT"),
    ],
)
def test_bad_meter_queries_are_refused(gate, signed, query, code):
    bad(signed.get(f"gate/meters?{query}"), 422, code)


def test_the_shown_fingerprint_is_the_etag_of_a_commit(priced, signed):
    etag = signed.get("gate/meters", expand="pricing").json()["data"][0]["pricing"][
        "fingerprint"
    ]
    lease = signed.post("gate/authorize", {"feature_code": "chat"}).json()["data"][
        "lease"
    ]
    meters = [
        {"meter_code": "chat", "quantity_minor": "1", "client_pricing_etag": etag}
    ]

    document = good(
        signed.post(
            "gate/commits",
            {
                "lease": lease,
                "feature_code": "chat",
                "quantity_minor": "1",
                "meters": meters,
            },
        ),
        wire.CommitEnvelope,
    )

    assert "hints" not in document
    assert document["data"]["lines"][0]["rate_identity"] == etag


@pytest.mark.parametrize(
    "path",
    ["gate/limits?expand=quotas,rates", "gate/meters?expand=limits,pricing,coverage"],
)
def test_a_list_costs_the_same_with_more_features(
    gate, signed, django_assert_max_num_queries, path
):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    counts = []
    for codes in (["a"], ["b", "c"]):
        for code in codes:
            gate.feature(code, price=1)
            gate.quota(5, feature=code)
            signed.post("gate/authorize", {"feature_code": code})
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert signed.get(path).status_code == 200
        counts.append(len(queries))

    assert counts[0] == counts[1]
