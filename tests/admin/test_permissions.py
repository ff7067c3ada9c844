import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User

from config.tenancy.models import Realm, ServiceKey
from config.tenancy.roles import ROLES
from config.tenancy.services.service_keys import create_service_key
from tests.admin.pages import (
    answers,
    change_url,
    command_url,
    errors_of,
    history_url,
    messages_of,
    why,
)

OPS_ONLY = {role: role == "Ops" for role in ROLES}
EXPORTERS = {role: role != "Support" for role in ROLES}


@pytest.fixture
def key(realm, at, by):
    return create_service_key(realm=realm, at=at, by=by)


OPERATED = {"Ops", "Auditor"}
LOOKED_AT = {
    "/admin/": set(ROLES),
    "/admin/tenancy/realm/": set(ROLES),
    "/admin/billing/billingaccount/": set(ROLES),
    "/admin/billing/billingcontract/": set(ROLES),
    "/admin/billing/billinguser/": set(ROLES),
    "/admin/billing/plan/": set(ROLES),
    "/admin/billing/planassignment/": set(ROLES),
    "/admin/catalog/meterprice/": set(ROLES),
    "/admin/gating/denial/": set(ROLES),
    "/admin/grants/wallet/": set(ROLES),
    "/admin/grants/grantlot/": set(ROLES),
    "/admin/grants/posting/": set(ROLES),
    "/admin/tenancy/servicekey/": OPERATED,
    "/admin/billing/platformtoken/": OPERATED,
    "/admin/axes/accesslog/": OPERATED,
    "/admin/axes/accessattempt/": OPERATED,
    "/admin/procrastinate/procrastinatejob/": OPERATED,
    "/admin/tenancy/jobrun/": OPERATED,
    "/admin/grants/grantprogram/": set(ROLES),
    "/admin/grants/grantcampaign/": set(ROLES),
    "/admin/grants/grantassignment/": set(ROLES),
    "/admin/auth/user/": {"Auditor"},
    "/admin/auth/group/": {"Auditor"},
}
"""Who sees which list: the customers' affairs all, keys and people not."""


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("path", LOOKED_AT)
def test_role_looks_at_what_is_its_business(staff, realm, key, role, path):
    expected = 200 if role in LOOKED_AT[path] else 403

    assert staff(role).get(path).status_code == expected


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

    assert client.get(own).status_code == (200 if role == "Auditor" else 403)
    assert client.post(command_url(client.user, "set-access"), why()).status_code == 403
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


@pytest.fixture
def member(db):
    """Somebody new on the staff, without a role."""
    return User.objects.create_user("new", password="x", is_staff=True)


def access(*roles, **flags):
    """Return the posted answers of "Set access"."""
    groups = [str(Group.objects.get(name=role).pk) for role in roles]
    return why(roles=groups, is_active="on", is_staff="on", **flags)


def test_superuser_gives_a_role_and_says_why(staff, member):
    root = staff(superuser=True)

    response = root.post(command_url(member, "set-access"), access("Ops", "Finance"))

    assert messages_of(response) == [("success", "The access of new is set.")]
    assert set(member.groups.values_list("name", flat=True)) == {"Finance", "Ops"}
    [entry] = root.get(history_url(member)).context["entries"]
    assert (entry.reason, entry.ticket_id, entry.operator) == (
        "asked for", "T-7", root.user.username,
    )  # fmt: skip
    assert entry.trace_id == response.headers["X-Trace-Id"]
    assert [(c.label, c.before.text, c.after.text) for c in entry.changes] == [
        ("Roles", "None", "Finance, Ops")
    ]


@pytest.mark.parametrize("question", ["reason", "ticket_id"])
def test_access_is_not_changed_without_an_explanation(staff, member, question):
    root = staff(superuser=True)

    response = root.post(
        command_url(member, "set-access"),
        access("Ops", is_superuser="on", **{question: ""}),
    )

    assert errors_of(response) == {question: ["This field is required."]}
    member.refresh_from_db()
    assert not member.is_superuser
    assert not member.groups.exists()


def test_access_does_not_change_by_the_page_of_a_member(staff, member):
    root = staff(superuser=True)
    role = Group.objects.get(name="Finance")

    response = root.post(
        change_url(member),
        {"username": "renamed", "groups": [role.pk], "is_superuser": "on", "email": ""},
    )

    assert response.status_code == 302
    member.refresh_from_db()
    assert (member.username, member.is_active, member.is_staff) == ("new", True, True)
    assert not member.is_superuser
    assert not member.groups.exists()


def test_same_access_leaves_no_entry(staff, member):
    root = staff(superuser=True)

    response = root.post(command_url(member, "set-access"), access())

    assert "Nothing to change" in messages_of(response)[0][1]
    assert not LogEntry.objects.exists()


def test_stale_form_does_not_give_a_role_back(staff, member):
    root, url = staff(superuser=True), command_url(member, "set-access")
    member.groups.add(Group.objects.get(name="Ops"))
    opened = root.get(url).context["adminform"].form.initial["seen"]
    root.post(url, access())

    refused = root.post(url, access("Ops", "Finance", seen=opened))

    assert "Somebody else changed the access" in errors_of(refused)["__all__"][0]
    assert not member.groups.exists()


def test_last_superuser_stays_one(staff, member):
    root = staff(superuser=True)

    refused = root.post(command_url(root.user, "set-access"), access("Ops"))
    assert "last superuser" in errors_of(refused)["is_superuser"][0]

    root.post(command_url(member, "set-access"), access(is_superuser="on"))
    done = root.post(command_url(root.user, "set-access"), access("Ops"))
    assert done.status_code == 302
    root.user.refresh_from_db()
    assert not root.user.is_superuser


def test_superuser_adds_a_member_who_may_sign_in_and_nothing_else(staff):
    root = staff(superuser=True)
    role = Group.objects.get(name="Support")

    response = root.post(
        "/admin/auth/user/add/",
        {
            "username": "grace",
            "usable_password": "true",
            "password1": "a long enough password",
            "password2": "a long enough password",
            "is_superuser": "on",
            "groups": [role.pk],
        },
    )

    assert response.status_code == 302
    grace = User.objects.get(username="grace")
    assert (grace.is_staff, grace.is_superuser) == (True, False)
    assert not grace.groups.exists()
    assert "grace" in messages_of(response)[0][1]
    page = root.get(history_url(grace))
    assert [entry.title for entry in page.context["entries"]] == ["Addition"]


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
