"""Realms that were there before get what new ones are given."""

import importlib

from django.apps import apps
from django.db import transaction

from config.tenancy.history import auditing
from config.tenancy.models import Realm
from grants.models import GrantProgram, PlanTemplates
from grants.services.programs_builtin import BUILT_IN_CODES
from tests.grants.giving import give_plan, plan_with

migration = importlib.import_module("grants.migrations.0008_issuance")
IDENTITY = {"id", "realm_id", "created_at", "updated_at"}


def terms(realm):
    rows = GrantProgram.objects.in_realm(realm).order_by("program_code").values()
    return [{k: v for k, v in row.items() if k not in IDENTITY} for row in rows]


def test_older_realm_gets_the_programs_that_new_realms_have(realm, at, by):
    with transaction.atomic(), auditing(by, at=at):
        older = Realm.objects.create(realm_id=f"{realm.pk}-older", name="Older")

    migration.give(apps, None)

    assert terms(older) == terms(realm)
    assert len(terms(realm)) == len(BUILT_IN_CODES)


def test_plans_that_are_held_already_bring_what_they_say_now(realm, account, at, by):
    monthly = {"grant_program_code": "monthly_xusd", "amount_xusd": 10}
    assignment = give_plan(account, plan_with(realm, at, by, monthly), at, by)
    taken = PlanTemplates.objects.get(plan_assignment=assignment).templates
    PlanTemplates.objects.filter(plan_assignment=assignment).delete()

    migration.give(apps, None)

    assert PlanTemplates.objects.get(plan_assignment=assignment).templates == taken
