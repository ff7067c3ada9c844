"""A site whose realms refuse certain names, and may be deleted: a form that fails."""

from django.db import IntegrityError
from django.urls import path

from config.admin.definitions import DefinitionAdmin
from config.admin.realms import RealmAdmin
from config.admin.site import PlangateSite
from config.kernel.errors import Conflict, Invalid
from config.tenancy.models import Realm

REFUSALS = {
    "on its field": Invalid("Names are taken.", field="name"),
    "on a fixed field": Conflict("Realm acme exists.", field="realm_id"),
    "on no field": Conflict("Not on Sundays."),
    "on a key": Invalid("Far away.", field="metadata.default_plan_id"),
    "on several": Invalid(
        "Two things.", meta={"errors": [("metadata.x", "One."), ("name", "Two.")]}
    ),
    "as the wire lists them": Invalid(
        "Two things.", meta={"errors": [{"field": "name", "message": "One."}]}
    ),
    "as a bug": IntegrityError("no constraint of ours"),
}
"""By the name that is typed: what saving ends with, after it wrote."""


class RefusingAdmin(RealmAdmin):
    deletable = True

    def save_definition(self, obj, form, *, change, at, by):
        if obj.name == "frozen":
            obj.status = "frozen"
        saved = DefinitionAdmin.save_definition(
            self, obj, form, change=change, at=at, by=by
        )
        if obj.name in REFUSALS:
            raise REFUSALS[obj.name]
        return saved


site = PlangateSite("admin")
site.register(Realm, RefusingAdmin)
urlpatterns = [path("admin/", site.urls)]
