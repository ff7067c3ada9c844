"""The demo realm: made once, then only read."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import transaction

from config.kernel.audit import Actor, AuditContext
from config.kernel.clock import now
from config.kernel.ids import new_trace_id
from config.tenancy.models import Realm, ServiceKey
from config.tenancy.roles import ROLES
from config.tenancy.services.realms import create_realm
from config.tenancy.services.service_keys import create_service_key, secret_text
from demo.accounts import create_customers
from demo.catalog import create_catalog, raise_starter
from demo.grants import create_grants, create_programs, settle_up
from demo.limits import create_bundles
from demo.usage import create_usage

REALM_ID = "orbit"
KEY_NAME = "demo"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Demo:
    """What the greeting tells: where to sign in and how to call.

    `logins` are (username, role) pairs that share `password`.
    """

    realm_id: str
    key_id: str
    secret: str
    logins: tuple[tuple[str, str], ...]
    password: str


def ensure_demo_realm(*, progress: Progress) -> Demo:
    """Create the demo realm unless it is there; return how to reach it.

    Refuses a database whose realm of that id, or whose member of staff, is not the
    demo's own (`NotADemo`).
    """
    realm = Realm.objects.filter(pk=REALM_ID).first()
    if realm is None:
        with transaction.atomic():
            realm = _create(progress)
    key = _key_of(realm)
    return Demo(
        realm_id=realm.pk,
        key_id=key.key_id,
        secret=secret_text(key),
        logins=_ensure_staff(),
        password=_password(),
    )


class NotADemo(Exception):
    """What the demo would show is somebody's own."""


def _key_of(realm: Realm) -> ServiceKey:
    keys = ServiceKey.objects.filter(name=KEY_NAME, allowed_realms=[realm.pk])
    key = keys.order_by("created_at", "key_id").first()
    if key is None:
        raise NotADemo(
            f"The realm {realm.pk} is not the demo's: it has no key named {KEY_NAME}. "
            "Run the demo with a PLANGATE_DATA_DIR or DATABASE_URL of its own."
        )
    return key


def _create(progress: Progress) -> Realm:
    present = now()
    began = present - timedelta(days=420)
    by = _explained("demo data", began)
    realm = create_realm(realm_id=REALM_ID, name="Orbit (demo)", at=began, by=by)
    create_service_key(realm=realm, name=KEY_NAME, at=began, by=by)
    plans = create_catalog(realm, at=began, by=by)
    create_bundles(realm, at=began, by=by)
    create_programs(realm, at=began, by=by)
    customers = create_customers(
        realm, plans, present=present, by=by, progress=progress
    )
    create_grants(customers)
    create_usage(customers)
    settle_up(customers)
    yesterday = present - timedelta(days=1)
    by = _explained("more for new customers", yesterday)
    raise_starter(plans["starter"], at=yesterday, by=by)
    return realm


def _explained(reason: str, at: datetime) -> AuditContext:
    return AuditContext(
        actor=Actor("system", "manage.py demo"),
        operator="demo",
        reason=reason,
        ticket_id="DEMO-1",
        effective_at=at,
        trace_id=new_trace_id(),
    )


def _password() -> str:
    """Return the demo staff's password: made from this installation's secret."""
    digest = hmac.new(settings.SECRET_KEY.encode(), b"demo staff", hashlib.sha256)
    return digest.hexdigest()[:16]


def _ensure_staff() -> tuple[tuple[str, str], ...]:
    logins = []
    for role in ROLES:
        username = role.lower()
        member, created = User.objects.get_or_create(
            username=username, defaults={"is_staff": True}
        )
        if created:
            member.groups.add(Group.objects.get(name=role))
        logins.append((username, role + _given_password(member, created)))
    admin, created = User.objects.get_or_create(
        username="admin", defaults={"is_staff": True, "is_superuser": True}
    )
    return (("admin", "everything" + _given_password(admin, created)), *logins)


def _given_password(member: User, created: bool) -> str:
    """Give a new member the demo's password; return what to say of an older one's."""
    if created:
        member.set_password(_password())
        member.save(update_fields=["password"])
        return ""
    return "" if member.check_password(_password()) else " (a password of its own)"
