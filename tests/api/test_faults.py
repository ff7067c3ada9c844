"""Several faults of one body have one shape, wherever they were found."""

import threading

import pytest
from django.db import connection, transaction

from catalog.models import Feature, FeatureFamily
from catalog.services.families import delete_feature_family
from catalog.services.features import delete_feature
from config.tenancy.services.service_keys import create_service_key
from tests.catalog.make import make_family, make_feature
from tests.gating.racing import wait_for_waiting
from tests.tools.client import SignedClient

PLAN = {"plan_code": "pro", "name": "Pro", "kind": "base"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"priority": "x", "active": 5}, ["priority", "active"]),
        (
            {"metadata": {"gate_bundle_key": 5, "grants": [{}]}},
            ["metadata.gate_bundle_key", "metadata.grants.0.grant_program_code"],
        ),
    ],
)
def test_each_fault_names_its_field(api, changes, fields):
    document = api.post("billing-plans", {**PLAN, **changes}).json()

    faults = document["meta"]["errors"]
    assert [set(each) for each in faults] == [{"field", "message"}] * len(fields)
    assert [each["field"] for each in faults] == fields
    assert document["meta"]["field"] == fields[0]


@pytest.mark.django_db
def test_faults_inside_a_list_name_their_place(api, realm, at, by):
    make_family(realm, at, by)
    meter = {"metadata": {"residual_mode": "x"}}

    document = api.post(
        "features",
        {"feature_code": "q", "feature_family_code": "chat", "meters": [meter]},
    ).json()

    assert [each["field"] for each in document["meta"]["errors"]] == [
        "meters.0.metadata.residual_mode"
    ]


# What a write found may be deleted before it is done


def while_deleting(delete, ask):
    """Ask from another connection while `delete` is done but not committed."""
    answers = []

    def work():
        try:
            answers.append(ask())
        finally:
            connection.close()

    asking = threading.Thread(target=work)
    with transaction.atomic():
        assert delete() is True
        asking.start()
        wait_for_waiting()
    asking.join(30)
    return answers[0]


@pytest.fixture
def backend(committed_realm, at, by):
    return SignedClient(
        committed_realm, create_service_key(realm=committed_realm, at=at, by=by)
    )


def told(response):
    document = response.json()
    return response.status_code, document["code"], document["meta"]["field"]


def test_rule_for_a_feature_deleted_meanwhile(backend, at, by):
    realm = backend.realm
    make_feature(realm, at, by, code="gone")
    feature = Feature.objects.get(realm=realm, feature_code="gone")
    plan = backend.post("billing-plans", PLAN).json()["data"]["plan_id"]
    rules = {"mode": "append", "items": [{"feature_code": "gone"}]}

    response = while_deleting(
        lambda: delete_feature(feature=feature, at=at, by=by),
        lambda: backend.post(f"billing-plans/{plan}/entitlements", rules),
    )

    assert told(response) == (422, "VALIDATION.INVALID_INPUT", "items.0.feature_code")


def test_feature_of_a_family_deleted_meanwhile(backend, at, by):
    make_family(backend.realm, at, by, code="gone")
    family = FeatureFamily.objects.get(realm=backend.realm, feature_family_code="gone")

    response = while_deleting(
        lambda: delete_feature_family(family=family, at=at, by=by),
        lambda: backend.post(
            "features", {"feature_code": "x", "feature_family_code": "gone"}
        ),
    )

    assert told(response) == (404, "RESOURCE.NOT_FOUND", "feature_family_code")


def test_meter_of_a_feature_deleted_meanwhile(backend, at, by):
    make_feature(backend.realm, at, by, code="gone")
    feature = Feature.objects.get(realm=backend.realm, feature_code="gone")

    response = while_deleting(
        lambda: delete_feature(feature=feature, at=at, by=by),
        lambda: backend.post("meters", {"meter_code": "m", "feature_code": "gone"}),
    )

    assert told(response) == (404, "RESOURCE.NOT_FOUND", "feature_code")
