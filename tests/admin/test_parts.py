"""Apps add parts to a screen of an app below, each without knowing of the others."""

import ast
from pathlib import Path

import pytest
from django import forms
from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.http import HttpRequest

from billing.models import Plan
from billing.models.details import BillingDetails
from catalog.models import FeatureFamily
from config.admin.bases import DefinitionAdmin, command, extend
from grants.admin.plans import PlanGrants

ROOT = Path(__file__).resolve().parents[2]
APPS = ("catalog", "billing", "grants", "gating", "demo", "bench")


@pytest.fixture
def families():
    """The screen of feature families; put back after the test."""
    screen = type(admin.site.get_model_admin(FeatureFamily))
    yield screen
    admin.site.unregister(FeatureFamily)
    admin.site.register(FeatureFamily, screen)


def add_parts(screen):
    class FormOfOne(screen.form):
        agreed = forms.BooleanField(required=False)

    class FormOfTwo(screen.form):
        sure = forms.BooleanField(required=False)

    @extend(FeatureFamily)
    class One(DefinitionAdmin):
        form = FormOfOne
        readonly_fields = ("one",)
        fieldsets = (("One", {"fields": ("one", "agreed")}),)

        def one(self, family):
            return "one"

        @command("Do one", permission="catalog.change_featurefamily")
        def do_one(self, *_given, **_options): ...

    @extend(FeatureFamily)
    class Two(DefinitionAdmin):
        form = FormOfTwo
        readonly_fields = ("two",)
        fieldsets = (("Two", {"fields": ("two", "sure")}),)

        def two(self, family):
            return "two"

        def get_queryset(self, request):
            return super().get_queryset(request).none()

    return One, Two


def test_parts_are_added_to_the_screen_and_to_each_other(families):
    parts = add_parts(families)
    screen = admin.site.get_model_admin(FeatureFamily)

    assert isinstance(screen, families)
    assert all(isinstance(screen, part) for part in parts)
    titles = [title for title, _ in screen.fieldsets]
    assert titles == [*(title for title, _ in families.fieldsets), "One", "Two"]
    assert {"one", "two"} <= set(screen.readonly_fields)
    assert {*families.form.base_fields, "agreed", "sure"} == set(
        screen.form.base_fields
    )
    assert "do_one" in screen.actions_detail
    assert list(screen.get_queryset(HttpRequest())) == []
    assert screen.menu == families.menu


def test_a_model_without_a_screen_has_no_parts():
    with pytest.raises(NotRegistered):
        extend(BillingDetails)(PlanGrants)


def test_what_plans_give_is_a_part_of_their_screen():
    assert isinstance(admin.site.get_model_admin(Plan), PlanGrants)


def test_no_app_takes_a_screen_away():
    calls = [
        f"{path}:{node.lineno}"
        for app in APPS
        for path in (ROOT / app).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "unregister"
        and "admin" in path.parts
    ]  # fmt: skip

    assert calls == []
