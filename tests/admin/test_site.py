import re

import pytest
from django.conf import settings
from django.contrib import admin
from django.db import connection
from django.template.loader import render_to_string
from django.test.utils import CaptureQueriesContext
from unfold.admin import ModelAdmin

from config.admin.navigation import GROUPS, navigation
from config.admin.search import PER_LIST, find
from config.admin.site import PlangateSite, site
from config.tenancy.services.service_keys import create_service_key


@pytest.fixture
def request_of(rf):
    def build(client):
        request = rf.get("/admin/")
        request.user = client.user
        return request

    return build


def test_site_is_ours():
    assert isinstance(
        site._wrapped if hasattr(site, "_wrapped") else site, PlangateSite
    )
    assert admin.site is site


def test_every_screen_is_dressed_by_the_theme():
    plain = [
        model._meta.label
        for model, screen in site._registry.items()
        if not isinstance(screen, ModelAdmin)
    ]

    assert plain == []


def test_every_screen_has_its_place_in_the_menu():
    lost = [
        model._meta.label
        for model, screen in site._registry.items()
        if getattr(screen, "menu", None) is not None and screen.menu.group not in GROUPS
    ]

    assert lost == []


def test_menu_shows_what_may_be_seen(staff, request_of):
    every = navigation(request_of(staff("Auditor")))
    none = navigation(request_of(staff()))

    titles = {item["title"] for group in every for item in group["items"]}
    assert {"Overview", "Realms", "Service keys", "Staff", "Roles", "Jobs"} <= titles
    assert [group["title"] for group in every] == [
        title
        for title in ("", *GROUPS)
        if any(group["title"] == title for group in every)
    ]
    assert [item["title"] for group in none for item in group["items"]] == ["Overview"]


def test_search_finds_rows_and_pages(staff, request_of, realm, at, by):
    key = create_service_key(realm=realm, name="zebra backend", at=at, by=by)
    request = request_of(staff("Ops"))

    assert [(hit.title, hit.description) for hit in find(request, "zebra")] == [
        (key.pk, "Service key")
    ]
    assert find(request, " service keys ")[0].link == "/admin/tenancy/servicekey/"
    assert find(request_of(staff()), "zebra") == []


def test_search_shows_a_few_rows_of_each_list(staff, request_of, realm, at, by):
    for number in range(PER_LIST + 2):
        create_service_key(realm=realm, name=f"zebra {number}", at=at, by=by)

    assert len(find(request_of(staff("Ops")), "zebra")) == PER_LIST


@pytest.mark.parametrize("term", ["", "z", "\0\0", "%", "'", "\\", "€" * 300, "9" * 40])
def test_search_survives_what_people_type(staff, realm, term):
    client = staff("Support")

    response = client.get("/admin/search/", {"s": term, "extended": 1})

    assert response.status_code == 200


def test_search_page_that_does_not_exist_is_the_last_one(staff, realm):
    client = staff("Support")

    response = client.get("/admin/search/?s=realm&extended=1&page=x")

    assert response.status_code == 200


def test_lists_cost_the_same_with_one_and_three_rows(staff, realm, at, by):
    client = staff("Ops")

    def cost():
        with CaptureQueriesContext(connection) as queries:
            assert client.get("/admin/tenancy/servicekey/").status_code == 200
        return len(queries)

    create_service_key(realm=realm, at=at, by=by)
    cost()
    with_one = cost()
    create_service_key(realm=realm, at=at, by=by)
    create_service_key(realm=realm, at=at, by=by)

    assert cost() == with_one


def test_staff_list_costs_the_same_with_one_and_three_rows(staff):
    client = staff("Auditor")

    def cost():
        with CaptureQueriesContext(connection) as queries:
            client.get("/admin/auth/user/")
        return len(queries)

    cost()
    with_one = cost()
    staff("Ops")
    staff("Finance")

    assert cost() == with_one


def test_empty_list_says_what_belongs_there(staff, realm):
    page = staff("Ops").get("/admin/tenancy/servicekey/")

    assert "No service keys yet" in page.text
    assert "No backend can call the API yet" in page.text


def test_search_without_a_hit_says_so(staff, realm):
    page = staff("Ops").get("/admin/tenancy/realm/?q=nowhere")

    assert "Nothing matches" in page.text


def test_codes_are_not_capitalized(staff, realm):
    page = staff("Ops").get(f"/admin/tenancy/realm/{realm.pk}/change/")

    assert realm.pk in page.text
    assert realm.pk.capitalize() not in page.text


def test_header_names_the_screen_as_the_menu_does(staff, realm):
    root = staff(superuser=True)

    for path in (
        "/admin/auth/user/",
        f"/admin/auth/user/{root.user.pk}/change/",
        f"/admin/auth/user/{root.user.pk}/password/",
        "/admin/auth/user/export/",
    ):
        header = root.get(path).text.split("<h1", 1)[1].split("</h1>")[0]
        assert "Access" in header
        assert "Staff" in header
        assert "Authentication and Authorization" not in header


def test_signing_out_says_so(staff):
    page = staff("Ops").post("/admin/logout/")

    assert "You are signed out" in page.text


@pytest.mark.parametrize("path", ["/", "/admin"])
def test_home_leads_to_the_admin(client, path):
    assert client.get(path).url == "/admin/"


def test_signing_in_leads_to_the_overview(client, django_user_model):
    django_user_model.objects.create_user(
        "ada", password="a long enough password", is_staff=True
    )

    page = client.get("/admin/login/")
    response = client.post(
        "/admin/login/", {"username": "ada", "password": "a long enough password"}
    )

    assert "Plangate" in page.text
    assert response.url == "/admin/"


def test_locked_out_page_says_how_long(client, db, settings):
    settings.AXES_FAILURE_LIMIT = 2
    attempts = [
        client.post("/admin/login/", {"username": "ada", "password": "wrong"})
        for _ in range(2)
    ]

    assert attempts[0].status_code == 200
    assert attempts[-1].status_code == 429
    assert "Signing in is locked for now" in attempts[-1].text
    assert "There were 2 failed attempts" in attempts[-1].text
    assert "Wait 15 minutes" in attempts[-1].text


@pytest.mark.parametrize("code", [400, 403, "403_csrf", 404, 500, 503])
def test_error_pages_stand_alone_and_show_the_trace(code):
    page = render_to_string(f"{code}.html", {"trace_id": "ab" * 16})

    assert f"<code>{'ab' * 16}</code>" in page
    assert "<script" not in page
    assert "src=" not in page
    assert page.count("<h1>") == 1


def test_unknown_address_is_a_page_with_a_trace(client, db):
    response = client.get("/nowhere/")

    assert response.status_code == 404
    assert response.headers["X-Trace-Id"] in response.text


def test_pages_allow_no_foreign_script(staff, realm):
    response = staff("Ops").get("/admin/")

    policy = response.headers["Content-Security-Policy"]
    assert "script-src 'self' 'unsafe-eval'" in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    assert "https://" not in response.text.replace("https://www.w3.org", "")


def test_lists_are_titled_as_the_menu_names_them(staff, realm):
    client = staff("Auditor")

    for path, title in (
        ("/admin/tenancy/realm/", "Realms"),
        ("/admin/gating/lease/", "Holds"),
        ("/admin/auth/user/", "Staff"),
    ):
        page = client.get(path).text
        assert page.split("<title>")[1].split("|")[0].strip() == title


def test_every_block_of_style_is_closed_and_every_media_query_is_read():
    for path in (settings.BASE_DIR / "static/plangate").glob("*.css"):
        css = path.read_text()
        assert css.count("{") == css.count("}")
        assert not re.findall(r"[.#\w]+ @media", css)
