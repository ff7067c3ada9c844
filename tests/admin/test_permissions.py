import pytest
from django.contrib.auth.models import Group, User

from config.tenancy.models import Realm, ServiceKey
from config.tenancy.roles import ROLES
from config.tenancy.services.service_keys import create_service_key
from tests.admin.pages import answers, change_url, command_url, messages_of, why

OPS_ONLY = {role: role == "Ops" for role in ROLES}
EXPORTERS = {role: role != "Support" for role in ROLES}


@pytest.fixture
def key(realm, at, by):
    return create_service_key(realm=realm, at=at, by=by)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "path",
    [
        "/admin/",
        "/admin/tenancy/realm/",
        "/admin/tenancy/servicekey/",
        "/admin/auth/user/",
        "/admin/auth/group/",
        "/admin/axes/accesslog/",
        "/admin/axes/accessattempt/",
        "/admin/procrastinate/procrastinatejob/",
    ],
)
def test_every_role_may_look(staff, realm, key, role, path):
    assert staff(role).get(path).status_code == 200


@pytest.mark.parametrize("role", ROLES)
def test_only_ops_changes_realms(staff, realm, role):
    client = staff(role)
    may = OPS_ONLY[role]

    added = client.post(
        "/admin/tenancy/realm/add/", answers(realm_id="new", name="New")
    )
    changed = client.post(change_url(realm), answers(name="Renamed"))
    suspended = client.post(command_url(realm, "suspend"), why())

    assert [added.status_code, changed.status_code, suspended.status_code] == (
        [302] * 3 if may else [403] * 3
    )
    realm.refresh_from_db()
    assert (realm.name == "Renamed", realm.status == "suspended") == (may, may)
    assert Realm.objects.filter(pk="new").exists() == may


@pytest.mark.parametrize("role", ROLES)
def test_only_ops_manages_service_keys(staff, realm, key, role):
    client = staff(role)
    may = OPS_ONLY[role]
    url = "/admin/tenancy/servicekey/do/create/"

    created = client.post(url, why(realm=realm.pk, scopes=["runtime"]))
    rotated = client.post(command_url(key, "rotate"), why())
    disabled = client.post(command_url(key, "disable"), why())

    assert [created.status_code, rotated.status_code, disabled.status_code] == (
        [200, 200, 302] if may else [403] * 3
    )
    key.refresh_from_db()
    assert (key.kdf_version, key.status) == ((2, "disabled") if may else (1, "active"))
    assert ServiceKey.objects.count() == (2 if may else 1)


@pytest.mark.parametrize("role", ROLES)
def test_lists_are_exported_by_those_who_may(staff, realm, role):
    client = staff(role)

    response = client.post(
        "/admin/tenancy/realm/export/", {"format": "0", "resource": ""}
    )

    assert response.status_code == (200 if EXPORTERS[role] else 403)
    assert ("/export/" in client.get("/admin/tenancy/realm/").text) == EXPORTERS[role]


@pytest.mark.parametrize("role", ROLES)
def test_nobody_raises_their_own_privileges(staff, role):
    client = staff(role)
    own = change_url(client.user)
    data = {"username": client.user.username, "is_superuser": "on", "is_active": "on"}

    assert client.get(own).status_code == 200
    assert client.post(own, data).status_code == 403
    assert client.get("/admin/auth/user/add/").status_code == 403
    assert client.get(f"/admin/auth/user/{client.user.pk}/password/").status_code == 403
    assert client.post(change_url(Group.objects.get(name=role)), {}).status_code == 403
    client.user.refresh_from_db()
    assert not client.user.is_superuser


def test_viewers_see_nothing_of_a_password(staff):
    client = staff("Auditor")

    page = client.get(change_url(client.user))

    assert "pbkdf2" not in page.text
    assert "password" not in page.context["adminform"].fieldsets[0][1]["fields"]


def test_superuser_gives_a_role(staff):
    root = staff(superuser=True)
    member = User.objects.create_user("new", password="x", is_staff=True)
    role = Group.objects.get(name="Finance")

    response = root.post(
        change_url(member),
        {"username": "new", "is_active": "on", "is_staff": "on", "groups": [role.pk]},
    )

    assert response.status_code == 302
    assert list(member.groups.values_list("name", flat=True)) == ["Finance"]


def test_superuser_adds_a_member_who_may_sign_in(staff):
    root = staff(superuser=True)
    role = Group.objects.get(name="Support")
    form = root.get("/admin/auth/user/add/").context["adminform"].form
    assert form.initial["is_staff"] is True

    response = root.post(
        "/admin/auth/user/add/",
        {
            "username": "grace",
            "usable_password": "true",
            "password1": "a long enough password",
            "password2": "a long enough password",
            "is_staff": "on",
            "groups": [role.pk],
        },
    )

    assert response.status_code == 302
    grace = User.objects.get(username="grace")
    assert grace.is_staff
    assert list(grace.groups.all()) == [role]
    assert "grace" in messages_of(response)[0][1]


def test_nobody_deletes_staff(staff):
    root = staff(superuser=True)
    member = User.objects.create_user("old", password="x")

    response = root.post(f"/admin/auth/user/{member.pk}/delete/", {"post": "yes"})

    assert response.status_code == 403
    assert User.objects.filter(pk=member.pk).exists()


def test_member_without_a_role_sees_an_empty_overview(staff):
    client = staff()

    assert client.get("/admin/").status_code == 200
    assert client.get("/admin/tenancy/realm/").status_code == 403


def test_only_staff_gets_in(client, db):
    client.force_login(
        User.objects.create_user("customer", password="x"),
        backend="django.contrib.auth.backends.ModelBackend",
    )

    assert client.get("/admin/").url.startswith("/admin/login/")
