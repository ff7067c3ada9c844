"""What the realm does not have comes into being by its first use, where it may."""

from functools import partial

import pytest

from catalog.models import Feature, FeatureFamily, FeatureMeter, Meter
from catalog.selectors.features import features_needing_configuration
from catalog.services import registration
from catalog.services.features import change_feature, delete_feature
from catalog.services.meters import change_meter
from catalog.services.registration import RegistryFull, register_meters
from config.tenancy.models import DomainEvent
from config.tenancy.services.service_keys import create_service_key
from gating.facts import Ask
from gating.services.admissions import AuthorizeRequest
from gating.services.batches import authorize_batch, commit_batch
from gating.services.commits import CommitRequest, MeterNotAllowed, OtherFeature
from gating.services.denials import GateDenied
from gating.services.leases import LeaseUnknown
from gating.services.subjects import Subject
from gating.services.usage import MeterUse
from tests.billing.answers import refusal
from tests.gating.racing import arena, racers
from tests.tools.client import SignedClient

AUTO = {"auto_registry": {"auto": True}}


def mark(source):
    return {"auto_registry": {"auto": True, "source": source}}


def feature_of(gate, code):
    return Feature.objects.get(realm=gate.realm, feature_code=code)


def meters_of(gate, code):
    links = FeatureMeter.objects.filter(realm=gate.realm, feature__feature_code=code)
    return sorted(links.values_list("meter__meter_code", flat=True))


def nothing(gate):
    return not Feature.objects.in_realm(gate.realm).exists()


# Off, or not allowed


@pytest.mark.parametrize(
    "use",
    [lambda gate: gate.authorize(feature="new"), lambda gate: gate.ingest(1, feature="new")],
)  # fmt: skip
def test_unless_the_deployment_says_so_nothing_is_registered(gate, use):
    with pytest.raises(GateDenied) as caught:
        use(gate)

    assert caught.value.meta["reason"] == "feature_not_found"
    assert nothing(gate)


def test_preflight_registers_nothing(gate, registering):
    with pytest.raises(GateDenied) as caught:
        gate.preflight(feature="new")

    assert caught.value.meta["reason"] == "feature_not_found"
    assert nothing(gate)


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("gate/authorize", {"feature_code": "new"}),
        ("gate/ingest", {"feature_code": "new", "quantity_minor": "1"}),
    ],
)
def test_a_key_limited_to_accounts_finds_the_feature_unknown(
    gate, registering, path, document
):
    key = create_service_key(
        realm=gate.realm, allowed_accounts=[str(gate.account.pk)], at=gate.at, by=gate.by
    )  # fmt: skip
    client = SignedClient(gate.realm, key, principal_id="acme", user_id="u-1")

    answer = client.post(path, document)

    assert refusal(answer)[:2] == (422, "RESOURCE.NOT_FOUND")
    assert answer.json()["meta"]["reason"] == "feature_not_found"
    assert nothing(gate)


@pytest.mark.parametrize("code", ["", "a b", "-x", "x" * 129, "ünïcode", "drop;table"])
def test_what_is_no_code_never_reaches_the_catalog(gate, registering, signed, code):
    for path, rest in (("gate/authorize", {}), ("gate/ingest", {"quantity_minor": 1})):
        assert signed.post(path, {"feature_code": code, **rest}).status_code == 422
    meters = [{"meter_code": code, "quantity_minor": 1}]
    answer = signed.post("gate/ingest", {"feature_code": "new", "meters": meters})

    assert answer.status_code == 422
    assert nothing(gate)


# By its first use


@pytest.mark.parametrize("path", ["authorize", "ingest"])
def test_the_first_use_makes_a_feature_with_its_meter(gate, registering, path):
    if path == "authorize":
        answer = gate.authorize(5, feature="new")
        assert answer.data["feature_family_code"] == "auto.registry"
    else:
        answer = gate.ingest(5, feature="new")
        assert answer.data["reason_codes"] == ["ingest", "pricing_not_configured"]

    feature = feature_of(gate, "new")
    meter = Meter.objects.get(realm=gate.realm)
    assert (feature.active, feature.entitlement_required) == (True, False)
    assert (feature.name, feature.metadata) == ("new", mark(path))
    assert feature.feature_family.metadata == {"auto_registry": {"fallback": True}}
    assert (meter.meter_code, meter.unit, meter.semantic_kind, meter.scale) == (
        "new",
        "unit",
        "activity",
        0,
    )
    assert meter.metadata == mark(path)
    (needing,) = features_needing_configuration(realm=gate.realm, at=gate.at)
    assert needing == feature


def test_history_says_who_used_it_first_and_by_what(gate, registering, signed, service_key):  # fmt: skip
    answer = signed.post(
        "gate/ingest", {"feature_code": "new", "quantity_minor": "1"}, key="first"
    )

    assert answer.status_code == 200, answer.content
    entry = Feature.history.get(id=feature_of(gate, "new").pk)
    assert (entry.actor_kind, entry.actor_id) == ("service_key", service_key.pk)
    assert (entry.reason, entry.ticket_id) == ("gate_ingest", "first")
    assert entry.trace_id == answer.json()["trace_id"]
    event = DomainEvent.objects.get(realm=gate.realm, kind="feature.created")
    assert event.payload == {"feature_code": "new"}


def test_a_family_that_is_named_is_made_with_its_mark(gate, registering):
    gate.authorize(feature="new", feature_family_code="art")
    gate.authorize(feature="newer", feature_family_code="art")

    family = FeatureFamily.objects.get(realm=gate.realm)
    assert (family.feature_family_code, family.metadata) == ("art", mark("authorize"))
    assert feature_of(gate, "newer").feature_family == family


def test_the_second_use_registers_nothing_more(gate, registering):
    gate.ingest(1, feature="new")
    events = DomainEvent.objects.in_realm(gate.realm).count()

    gate.ingest(1, feature="new")
    gate.commit(gate.lease(feature="new"), feature="new")

    assert DomainEvent.objects.in_realm(gate.realm).count() == events


def test_a_feature_of_another_realm_is_not_this_ones(gate, registering, other_realm):
    gate.ingest(1, feature="new")

    assert not Feature.objects.in_realm(other_realm).exists()
    assert not Meter.objects.in_realm(other_realm).exists()


def test_a_meter_that_somebody_made_is_linked_as_it_is(gate, registering):
    gate.feature("other", meters=["new"])
    gate.price("new", 7)
    meter = Meter.objects.get(realm=gate.realm, meter_code="new")
    change_meter(
        meter=meter, unit="call", metadata={"note": "ours"}, at=gate.at, by=gate.by
    )
    gate.credit(100)

    answer = gate.ingest(3, feature="new")

    assert answer.data["amount_xusd"] == "21"
    meter.refresh_from_db()
    assert (meter.unit, meter.metadata) == ("call", {"note": "ours"})


# Meters


@pytest.mark.parametrize("path", ["commit", "ingest"])
def test_unknown_meters_are_made_and_linked(gate, registering, path):
    gate.feature()
    given = {"meters": [("chat", 1), ("b", 2), ("a", 3), ("b", 4)]}

    if path == "commit":
        answer = gate.commit(gate.lease(), 1, **given)
        assert answer.data["reason_codes"] == ["pricing_not_configured"]
    else:
        answer = gate.ingest(**given)

    assert answer.data["application_status"] == "applied"
    assert meters_of(gate, "chat") == ["a", "b", "chat"]
    made = Meter.objects.filter(realm=gate.realm, meter_code__in=["a", "b"])
    assert {(m.unit, m.semantic_kind) for m in made} == {("unit", "activity")}
    assert [m.metadata for m in made] == [mark(path)] * 2
    assert not answer.replayed


def test_a_meter_made_by_use_serves_the_next_feature_too(gate, registering):
    gate.ingest(feature="one", meters=[("tokens", 1)])

    gate.ingest(feature="two", meters=[("tokens", 1)])

    assert meters_of(gate, "two") == ["tokens", "two"]
    assert Meter.objects.filter(realm=gate.realm, meter_code="tokens").count() == 1


def test_a_meter_that_somebody_made_is_linked_by_somebody(gate, registering):
    gate.feature()
    gate.feature("other", meters=["tokens"])

    with pytest.raises(MeterNotAllowed) as caught:
        gate.ingest(meters=[("tokens", 1)])
    kept = gate.commit(gate.lease(), 1, meters=[("tokens", 1)])

    assert caught.value.hints[0]["meters"] == ["tokens"]
    assert kept.data["application_status"] == "quarantined"
    assert "meter_not_allowed_for_feature" in kept.data["reason_codes"]
    assert meters_of(gate, "chat") == ["chat"]


def test_a_meter_switched_off_stays_off(gate, registering):
    gate.ingest(feature="one", meters=[("tokens", 1)])
    meter = Meter.objects.get(realm=gate.realm, meter_code="tokens")
    change_meter(meter=meter, active=False, at=gate.at, by=gate.by)

    for feature in ("one", "two"):
        with pytest.raises(MeterNotAllowed):
            gate.ingest(feature=feature, meters=[("tokens", 1)])


def test_a_commit_that_is_refused_registers_nothing(gate, registering):
    gate.feature()
    lease = gate.lease()

    with pytest.raises(LeaseUnknown):
        gate.commit("lease.none", 1, feature="new")
    with pytest.raises(LeaseUnknown):
        gate.commit("lease.none", 1, meters=[("new", 1)])
    with pytest.raises(OtherFeature):
        gate.commit(lease, 1, feature="new", meters=[("newer", 1)])

    assert [f.feature_code for f in Feature.objects.in_realm(gate.realm)] == ["chat"]
    assert [m.meter_code for m in Meter.objects.in_realm(gate.realm)] == ["chat"]


def test_a_commit_on_a_feature_that_went_meanwhile_brings_it_back(gate, registering):
    feature = gate.feature()
    lease = gate.lease()
    assert delete_feature(feature=feature, at=gate.at, by=gate.by)

    answer = gate.commit(lease, 1)

    assert answer.data["application_status"] == "applied"
    assert feature_of(gate, "chat").metadata == mark("commit")


def test_a_repeat_on_a_feature_that_is_gone_brings_nothing_back(gate, registering):
    feature = gate.feature()
    first = gate.authorize(5, key="a")
    used = gate.commit(first.data["lease"], 1, key="c")
    assert delete_feature(feature=feature, at=gate.at, by=gate.by)

    assert gate.authorize(5, key="a").data == first.data
    assert gate.commit(first.data["lease"], 1, key="c").data == used.data
    assert nothing(gate)


def test_items_of_a_batch_register_each_for_itself(gate, registering):
    gate.feature()
    subject = Subject.of(gate.account, gate.user)
    asked = [
        (AuthorizeRequest(Ask(code), lease), key)
        for code, lease, key in (("new", "l-1", "1"), ("chat", "l-2", "2"), ("newer", "l-3", "3"))
    ]  # fmt: skip
    uses = [
        (CommitRequest(lease, code, 1, [MeterUse(meter, 1)] if meter else []), lease)
        for code, lease, meter in (("new", "l-1", "tokens"), ("chat", "l-2", ""), ("newer", "l-3", "tokens"))
    ]  # fmt: skip

    admitted = authorize_batch(subject, asked, at=gate.at, by=gate.by)
    committed = commit_batch(subject, uses, at=gate.at, by=gate.by)

    assert [a.data["feature_code"] for a in admitted] == ["new", "chat", "newer"]
    assert [c.data["application_status"] for c in committed] == ["applied"] * 3
    assert [meters_of(gate, code) for code in ("new", "chat", "newer")] == [
        ["new", "tokens"],
        ["chat"],
        ["newer", "tokens"],
    ]


# No more than a bound


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(registration, "MOST_WAITING", 3)


def test_a_flood_of_invented_codes_ends(gate, registering, small):
    for number in range(3):
        gate.ingest(1, feature=f"new-{number}")

    for use in (gate.authorize, partial(gate.ingest, 1)):
        with pytest.raises(RegistryFull) as caught:
            use(feature="one-more")
    with pytest.raises(RegistryFull):
        gate.ingest(feature="new-0", meters=[("one-more", 1)])

    assert (caught.value.status, caught.value.code) == (422, "CATALOG.REGISTRY_FULL")
    assert caught.value.message.startswith("one-more was not registered: 3 meters")
    assert Feature.objects.in_realm(gate.realm).count() == 3
    assert Meter.objects.in_realm(gate.realm).count() == 3


def test_when_no_more_is_registered_a_commit_is_kept_as_evidence(
    gate, registering, small
):
    for number in range(3):
        gate.ingest(1, feature=f"new-{number}")

    kept = gate.commit(
        gate.lease(feature="new-0"), 1, feature="new-0", meters=[("one-more", 1)]
    )

    assert kept.data["application_status"] == "quarantined"
    assert kept.data["reason_codes"] == ["meter_not_allowed_for_feature"]


def test_a_full_registry_refuses_the_item_and_not_the_batch(gate, registering, small):
    asked = [(AuthorizeRequest(Ask(f"new-{n}")), f"k-{n}") for n in (0, 1, 2, 3, 0)]

    found = authorize_batch(
        Subject.of(gate.account, gate.user), asked, at=gate.at, by=gate.by
    )

    assert [isinstance(each, RegistryFull) for each in found] == [
        False, False, False, True, False,
    ]  # fmt: skip


def test_what_is_priced_or_switched_off_makes_room(gate, registering, small):
    for number in range(3):
        gate.ingest(1, feature=f"new-{number}")

    gate.price("new-0", 0)
    later = gate.later(minutes=1)
    later.ingest(1, feature="more")
    change_feature(
        feature=feature_of(gate, "new-1"), active=False, at=later.at, by=gate.by
    )
    later.ingest(1, feature="more-still")

    with pytest.raises(RegistryFull):
        later.ingest(1, feature="too-many")


def test_other_realms_have_bounds_of_their_own(gate, registering, small, other_realm):
    for number in range(3):
        gate.ingest(1, feature=f"new-{number}")

    made = registration.register_feature(
        realm=other_realm, feature_code="new", source="ingest", at=gate.at, by=gate.by
    )

    assert made.realm == other_realm


def test_registering_meters_of_nothing_unknown_changes_nothing(gate):
    gate.feature(meters=["tokens"])
    events = DomainEvent.objects.in_realm(gate.realm).count()

    linked = register_meters(
        realm=gate.realm, feature_code="chat", meter_codes=["tokens"], source="ingest",
        at=gate.at, by=gate.by,
    )  # fmt: skip

    assert linked == []
    assert DomainEvent.objects.in_realm(gate.realm).count() == events


# At once


@pytest.mark.parametrize("path", ["authorize", "ingest"])
def test_sixteen_first_uses_make_one_feature(committed, at, by, registering, path):
    realm = arena(at, by)
    key = create_service_key(realm=realm.realm, at=at, by=by)
    document = {"feature_code": "new", "quantity_minor": "1"}
    if path == "authorize":
        document = {"feature_code": "new"}

    def use(number):
        client = SignedClient(
            realm.realm, key, principal_id=f"p-{number % 4}", user_id="u-1"
        )
        return client.post(f"gate/{path}", document, key=f"k-{number}")

    with racers(16) as racing:
        results = racing.race([partial(use, number) for number in range(16)])

    assert [r.status_code for r in results] == [200] * 16, [r.content for r in results]
    feature = Feature.objects.get(realm=realm.realm)
    assert len(Feature.history.filter(id=feature.pk)) == 1
    assert Meter.objects.in_realm(realm.realm).count() == 1


def test_sixteen_codes_at_once_pass_no_bound(committed, at, by, registering, small):
    realm = arena(at, by)
    people = [realm.of_principal(f"p-{number}") for number in range(16)]

    with racers(16) as racing:
        results = racing.race(
            [
                partial(who.ingest, 1, feature=f"new-{number}")
                for number, who in enumerate(people)
            ]
        )

    refused = [r for r in results if isinstance(r, RegistryFull)]
    assert len(refused) == 13, results
    assert Feature.objects.in_realm(realm.realm).count() == 3
