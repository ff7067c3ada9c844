"""A button pressed twice does the thing once, also by two requests at the same time."""

import re

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from config.admin.once import AlreadySent, claim_once
from config.kernel.clock import now
from config.tenancy.models import ServiceKey
from tests.admin.pages import errors_of, why
from tests.gating.racing import Racers

CREATE = "/admin/tenancy/servicekey/do/create/"


@pytest.fixture
def racers(committed):
    threads = Racers(2, seed=8)
    yield threads
    threads.close()


def test_two_clicks_at_once_make_one_key(racers, committed_realm):
    member = User.objects.create_user(f"ops {committed_realm.pk}", is_staff=True)
    member.groups.add(Group.objects.get(name="Ops"))
    tab = Client()
    tab.force_login(member, backend="django.contrib.auth.backends.ModelBackend")
    once = re.search(r'name="_once" value="(\w+)"', tab.get(CREATE).text)[1]
    data = why(realm=committed_realm.pk, scopes=["runtime"], _once=once)

    def click():
        client = Client()
        client.cookies.update(tab.cookies)
        return client.post(CREATE, data)

    pages = racers.race([click, click])

    assert [page.status_code for page in pages] == [200, 200]
    refused = [page for page in pages if page.template_name.endswith("command.html")]
    [page] = refused
    assert "already sent" in errors_of(page)["__all__"][0]
    made = ServiceKey.objects.filter(allowed_realms=[committed_realm.pk])
    assert made.count() == 1


class Sent:
    """What of a request the mark is bound to."""

    def __init__(self, user):
        self.user, self.session = user, {}


def test_mark_is_of_one_member_only(staff):
    one, other = Sent(staff("Ops").user), Sent(staff("Ops").user)

    claim_once(one, "x", at=now())
    claim_once(other, "x", at=now())

    with pytest.raises(AlreadySent):
        claim_once(one, "x", at=now())
    claim_once(one, None, at=now())


@pytest.mark.parametrize("mark", ["\0", "\ud800", "x" * 100_000])
def test_any_text_is_a_mark(staff, mark):
    one = Sent(staff("Ops").user)

    claim_once(one, mark, at=now())

    with pytest.raises(AlreadySent):
        claim_once(one, mark, at=now())
