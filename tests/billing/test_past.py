"""What plans, catalog and realm said then, not what was made of them since."""

from datetime import timedelta

import pytest

from billing.selectors.effective import billing_state, entitled_features
from billing.services.assignments import Identity, assign_plan
from billing.services.entitlements import Target, append_entitlements
from catalog.services.families import change_feature_family, upsert_feature_family
from catalog.services.features import change_feature, delete_feature, upsert_feature
from config.kernel.windows import Window
from config.tenancy.services.realms import change_realm

DAY = timedelta(days=1)


@pytest.fixture
def family(realm, at, by):
    return upsert_feature_family(realm=realm, feature_family_code="chat", at=at, by=by)[
        0
    ]


@pytest.fixture
def feature(realm, family, at, by):
    return upsert_feature(
        realm=realm,
        feature_code="chat.gpt",
        feature_family_code="chat",
        entitlement_required=True,
        at=at,
        by=by,
    )[0]


@pytest.fixture
def held(account, feature, pro, at, by):
    """The plan `pro`, held since `at`."""
    assign_plan(
        identity=Identity(account, None, pro, "ops.manual", "c-1"),
        window=Window(at),
        at=at,
        by=by,
    )
    return pro


@pytest.fixture
def allowed(held, at, by):
    """The same, allowing the feature's family."""
    append_entitlements(
        plan=held, targets=[Target("allow", None, "chat")], at=at, by=by
    )
    return held


def access(account, when, present):
    """Return what the plans in effect say of each feature."""
    return entitled_features(billing_state(account=account, as_of=when, at=present))


def test_first_rule_of_an_older_plan_did_not_govern_before_it(account, held, at, by):
    append_entitlements(
        plan=held, targets=[Target("allow", "chat.gpt")], at=at + 30 * DAY, by=by
    )
    present = at + 60 * DAY

    assert access(account, at + 15 * DAY, present) == {}
    assert access(account, at + 45 * DAY, present) == {"chat.gpt": "included in Pro"}
    assert access(account, present, present) == {"chat.gpt": "included in Pro"}


def test_plan_assigned_to_an_earlier_start_has_its_first_rules_there(
    account, allowed, at, by
):
    assign_plan(
        identity=Identity(account, None, allowed, "ops.manual", "c-1"),
        window=Window(at - 30 * DAY),
        at=at + DAY,
        by=by,
    )

    found = access(account, at - 15 * DAY, at + 2 * DAY)

    assert found == {"chat.gpt": "included in Pro"}


def moved(feature, family, at, by):
    upsert_feature_family(
        realm=feature.realm, feature_family_code="other", at=at, by=by
    )
    change_feature(feature=feature, feature_family_code="other", at=at, by=by)


def switched_off(feature, family, at, by):
    change_feature(feature=feature, active=False, at=at, by=by)


def made_free(feature, family, at, by):
    change_feature(feature=feature, entitlement_required=False, at=at, by=by)


def deleted(feature, family, at, by):
    assert delete_feature(feature=feature, at=at, by=by)


@pytest.mark.parametrize("change", [moved, switched_off, made_free, deleted])
def test_access_of_the_past_follows_the_catalog_of_then(
    account, allowed, feature, family, at, by, change
):
    change(feature, family, at + 30 * DAY, by)
    present = at + 60 * DAY

    assert access(account, at + 15 * DAY, present) == {"chat.gpt": "included in Pro"}
    assert access(account, at + 45 * DAY, present) == {}
    assert access(account, present, present) == {}


def test_need_of_a_plan_follows_the_family_of_then(
    account, allowed, feature, family, at, by
):
    change_feature(feature=feature, entitlement_required=None, at=at, by=by)
    change_feature_family(
        family=family, entitlement_required=False, at=at + 30 * DAY, by=by
    )
    change_feature_family(
        family=family, entitlement_required=True, at=at + 60 * DAY, by=by
    )
    present = at + 90 * DAY

    assert access(account, at + 45 * DAY, present) == {}
    assert access(account, at + 75 * DAY, present) == {"chat.gpt": "included in Pro"}


def test_feature_of_another_realm_is_not_told(account, allowed, other_realm, at, by):
    upsert_feature_family(realm=other_realm, feature_family_code="chat", at=at, by=by)
    upsert_feature(
        realm=other_realm, feature_code="alien", feature_family_code="chat",
        entitlement_required=True, at=at, by=by,
    )  # fmt: skip

    assert set(access(account, at + DAY, at + 2 * DAY)) == {"chat.gpt"}


def test_defaults_of_the_realm_are_those_of_then(account, realm, at, by):
    postpaid = {"billing_defaults": {"period": {"billing_mode": "postpaid"}}}
    change_realm(realm=realm, name="x", metadata=postpaid, at=at + 30 * DAY, by=by)
    account.realm.refresh_from_db()
    present = at + 60 * DAY

    def mode(when, known_at=None):
        state = billing_state(
            account=account, as_of=when, known_at=known_at, at=present
        )
        return state.billing_mode.value, state.billing_mode.source

    assert mode(at + 15 * DAY) == ("prepaid", "system_default")
    assert mode(at + 45 * DAY) == ("postpaid", "realm_default")
    assert mode(at + 45 * DAY, at + 15 * DAY) == ("prepaid", "system_default")
    assert mode(present) == ("postpaid", "realm_default")
