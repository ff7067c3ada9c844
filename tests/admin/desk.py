"""A site of one screen with every kind of button, for the tests of buttons."""

from django import forms
from django.http import HttpResponse
from django.urls import path

from config.admin.bases import Done, RecordAdmin, Table, TimedForm, command
from config.admin.site import PlangateSite
from config.kernel.errors import Conflict, Invalid
from config.tenancy.history import auditing
from config.tenancy.models import Realm, RealmStatus
from config.tenancy.services.realms import change_realm, set_realm_status


class RenameForm(TimedForm):
    """A new name; one of its fields is added late."""

    name = forms.CharField(max_length=30)

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.fields["note"] = forms.CharField(required=False)
        self.initial["name"] = self.subject.name if self.subject else ""


def rename(realm, form, at, by):
    return change_realm(
        realm=realm,
        name=form.cleaned_data["name"],
        metadata=realm.metadata,
        at=at,
        by=by,
    )


class DeskAdmin(RecordAdmin):
    def show_rename(self, _request, realm, form, *, at, by):
        before = realm.name
        rename(realm, form, at, by)
        now_named = Realm.objects.get(pk=realm.pk).name
        return [Table("Names", ["Before", "After"], [[before, now_named]])]

    def show_refusal(self, _request, realm, form, *, at, by):
        rename(realm, form, at, by)
        raise Invalid("That name is taken.", field="name")

    @command("Rename", permission="tenancy.change_realm", form=RenameForm)
    def rename(self, _request, realm, form, *, at, by):
        rename(realm, form, at, by)
        return f"Renamed to {form.cleaned_data['name']}."

    @command("Go home", permission="tenancy.change_realm")
    def go_home(self, _request, realm, form, *, at, by):
        return Done("Gone.", goto="/admin/")

    @command("Answer", permission="tenancy.change_realm")
    def answer(self, _request, realm, form, *, at, by):
        return HttpResponse("shown once")

    @command("Refuse", permission="tenancy.change_realm", form=RenameForm)
    def refuse(self, _request, realm, form, *, at, by):
        rename(realm, form, at, by)
        if form.cleaned_data["name"] == "taken":
            raise Invalid("That name is taken.", field="name")
        raise Conflict("Not on Sundays.")

    @command("Violate", permission="tenancy.change_realm")
    def violate(self, _request, realm, form, *, at, by):
        with auditing(by, at=at):
            Realm.objects.filter(pk=realm.pk).update(status="frozen")

    @command("Break", permission="tenancy.change_realm", form=RenameForm)
    def break_down(self, _request, realm, form, *, at, by):
        rename(realm, form, at, by)
        raise RuntimeError("a bug")

    @command(
        "Rename with care",
        permission="tenancy.change_realm",
        form=RenameForm,
        preview=show_rename,
    )
    def rename_with_care(self, _request, realm, form, *, at, by):
        rename(realm, form, at, by)

    @command(
        "Refused preview",
        permission="tenancy.change_realm",
        form=RenameForm,
        preview=show_refusal,
    )
    def never(self, _request, realm, form, *, at, by):
        raise AssertionError

    @command(
        "Suspend",
        permission="tenancy.change_realm",
        available=lambda realm: realm.status == RealmStatus.ACTIVE,
    )
    def suspend(self, _request, realm, form, *, at, by):
        set_realm_status(realm=realm, status=RealmStatus.SUSPENDED, at=at, by=by)

    @command("Approve", permission="tenancy.approve_nothing")
    def approve(self, _request, realm, form, *, at, by):
        raise AssertionError

    @command("Count", permission="tenancy.change_realm", on_list=True)
    def count(self, _request, subject, form, *, at, by):
        return f"{subject} {form.subject} {Realm.objects.count() > 0}"


site = PlangateSite("admin")
site.register(Realm, DeskAdmin)
urlpatterns = [path("admin/", site.urls)]
