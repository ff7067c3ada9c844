"""What the tests of admin pages ask of a page."""

from django.contrib.messages import get_messages
from django.db import connection
from django.urls import reverse


def messages_of(response):
    """Return (level, text) of what the member of staff is told next."""
    return [(m.level_tag, str(m)) for m in get_messages(response.wsgi_request)]


def form_of(response):
    """Return the form that a refused page shows again."""
    return response.context["adminform"].form


def errors_of(response):
    """Return the errors of a refused form as plain lists by field."""
    return {name: list(errors) for name, errors in form_of(response).errors.items()}


def answers(**own):
    """Return the posted answers of a definition's form, why included."""
    return {"audit_reason": "asked for", "audit_ticket_id": "T-7", **own}


def why(**own):
    """Return the posted answers of a command's form, why included."""
    return {"reason": "asked for", "ticket_id": "T-7", **own}


def change_url(row):
    """Return the address of a row's page."""
    opts = row._meta
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[row.pk])


def command_url(row, name):
    """Return the address of a row's button."""
    return change_url(row).removesuffix("change/") + f"do/{name}/"


def history_url(row):
    """Return the address of a row's history."""
    return change_url(row).removesuffix("change/") + "history/"


def next_request():
    """Let constraints wait for the end again, as when a request's transaction begins.

    A test is one transaction, in which the first saved page had them judged at once.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
