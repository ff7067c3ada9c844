"""`manage.py create_service_key`: a credential for a backend."""

import argparse
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from config.kernel.audit import Actor, AuditContext
from config.kernel.clock import now
from config.kernel.errors import Invalid
from config.kernel.ids import new_trace_id
from config.tenancy.models import Realm
from config.tenancy.services.realms import create_realm
from config.tenancy.services.service_keys import create_service_key, secret_text


class Command(BaseCommand):
    """Create a service key for a realm and print it, secret included, once."""

    help = "Create a service key; with --create-realm also the realm."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Take the realm, and why."""
        parser.add_argument("--realm", required=True)
        parser.add_argument("--create-realm", action="store_true")
        parser.add_argument("--name", default="")
        parser.add_argument("--reason", default="created on the command line")
        parser.add_argument("--ticket", default="command-line")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Create and print the key."""
        at = now()
        by = AuditContext(
            actor=Actor("system", "manage.py create_service_key"),
            operator="operator",
            reason=options["reason"],
            ticket_id=options["ticket"],
            effective_at=at,
            trace_id=new_trace_id(),
        )
        with transaction.atomic():
            realm = Realm.objects.filter(pk=options["realm"]).first()
            if realm is None and not options["create_realm"]:
                raise CommandError(
                    f"There is no realm {options['realm']}. Add --create-realm to "
                    "create it."
                )
            try:
                realm = realm or create_realm(realm_id=options["realm"], at=at, by=by)
            except Invalid as error:
                raise CommandError(error.message) from None
            key = create_service_key(realm=realm, name=options["name"], at=at, by=by)
        printed = {
            "realm_id": realm.pk,
            "key_id": key.key_id,
            "secret": secret_text(key),
        }
        if options["json"]:
            self.stdout.write(json.dumps(printed))
        else:
            for name, value in printed.items():
                self.stdout.write(f"{name}: {value}")
