"""An address narrows a list by what the list offers, and probes nothing else."""

import pytest
from axes.models import AccessAttempt
from django.contrib.admin import site
from django.utils import timezone

from config.tenancy.services.service_keys import create_service_key

PROBES = [
    "/admin/tenancy/servicekey/?kdf_salt__gt=a",
    "/admin/tenancy/servicekey/?kdf_salt__isnull=0",
    "/admin/axes/accessattempt/?post_data__contains=hunter2",
    "/admin/axes/accessattempt/?username__startswith=hunter",
    "/admin/auth/user/?password__startswith=pbkdf2",
    "/admin/billing/billinguser/?metadata__email__startswith=a",
    "/admin/billing/billinguser/?realm__name__startswith=a",
    "/admin/billing/billinguser/?account__metadata__x=1",
    "/admin/tenancy/realm/?status__regex=(",
]


@pytest.mark.parametrize("address", PROBES)
def test_columns_are_not_probed_by_the_address(staff, realm, address):
    assert staff("Auditor").get(address).status_code == 400


def test_lists_are_narrowed_by_their_own_filters(staff, realm, at, by):
    create_service_key(realm=realm, at=at, by=by)
    client = staff("Auditor")

    for address in (
        "/admin/tenancy/servicekey/?status__exact=active",
        "/admin/tenancy/servicekey/?status=active&o=1&q=x",
        f"/admin/billing/plan/?realm__realm_id__exact={realm.pk}",
        "/admin/gating/denial/?last_at_from_0=2026-01-01&last_at_to_0=2026-02-01",
        "/admin/billing/planassignment/?plan__kind__exact=base",
        "/admin/catalog/feature/?setup=open",
        "/admin/auth/user/?groups__id__exact=1&is_active__exact=1",
    ):
        assert client.get(address).status_code == 200, address


def test_every_filter_is_a_way_to_narrow_its_list(staff, rf):
    request = rf.get("/admin/")
    request.user = staff("Auditor").user

    for screen in site._registry.values():
        for item in screen.get_list_filter(request):
            name = (
                item if isinstance(item, str) else getattr(item, "parameter_name", "")
            )
            if isinstance(item, tuple):
                name = item[0]
            assert screen.lookup_allowed(name, "x", request), (screen, name)


def test_what_was_typed_for_a_user_name_is_not_shown(staff):
    client = staff("Auditor")
    now = timezone.now()
    for typed in ("my secret password", client.user.username):
        AccessAttempt.objects.create(
            username=typed, ip_address="192.0.2.1", attempt_time=now,
            failures_since_start=1,
        )  # fmt: skip
    unknown = AccessAttempt.objects.get(username="my secret password")
    path = "/admin/axes/accessattempt/"

    pages = [
        client.get(path),
        client.get(f"{path}{unknown.pk}/change/"),
        client.post(f"{path}export/", {"format": "0", "resource": ""}),
    ]

    assert [page.status_code for page in pages] == [200] * 3
    assert all("secret password" not in page.text for page in pages)
    assert client.user.username in pages[0].text
    found = client.get(path, {"q": client.user.username}).context["cl"].result_count
    guessed = client.get(path, {"q": "secret"}).context["cl"].result_count
    assert (found, guessed) == (1, 0)
