"""The demo keeps away from what is somebody's own."""

import pytest
from django.contrib.auth.models import User

from config.tenancy.services.realms import create_realm
from config.tenancy.services.service_keys import create_service_key
from demo.realm import KEY_NAME, REALM_ID, NotADemo, ensure_demo_realm

pytestmark = pytest.mark.django_db


def ensured():
    return ensure_demo_realm(progress=lambda *_: None)


@pytest.fixture
def orbit(at, by):
    return create_realm(realm_id=REALM_ID, at=at, by=by)


def test_realm_of_ones_own_is_refused_with_a_sentence(orbit):
    with pytest.raises(NotADemo, match="orbit is not the demo's"):
        ensured()
    assert not User.objects.exists()


def test_second_key_of_that_name_changes_nothing(orbit, at, by):
    first = create_service_key(realm=orbit, name=KEY_NAME, at=at, by=by)
    create_service_key(realm=orbit, name=KEY_NAME, at=at, by=by)

    assert ensured().key_id == first.pk


def test_password_is_told_of_the_demos_own_staff_only(orbit, at, by):
    create_service_key(realm=orbit, name=KEY_NAME, at=at, by=by)
    User.objects.create_user("support", password="of my own", is_staff=True)

    for _ in range(2):
        logins = dict(ensured().logins)

        assert logins["support"] == "Support (a password of its own)"
        assert logins["finance"] == "Finance"
        assert logins["admin"] == "everything"
    assert User.objects.get(username="support").check_password("of my own")
