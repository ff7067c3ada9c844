"""Reads of grant programs."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from config.kernel.errors import Invalid, NotFound
from config.kernel.ids import parse_uuid
from config.tenancy.models import Realm
from grants.models import GrantAssignment, GrantCampaign, GrantProgram, LotKind

_EQUAL = ("active", "cadence", "issuance_mode", "program_code")


def list_programs(realm: Realm, **filters: Any) -> QuerySet[GrantProgram]:
    """Return the realm's programs that match every given filter, unordered.

    `active`, `cadence`, `issuance_mode`, `program_code`, and `campaign_id`: those that
    the campaign gives, or gave.
    """
    found = GrantProgram.objects.in_realm(realm)
    for name in _EQUAL:
        if filters.get(name) is not None:
            found = found.filter(**{name: filters[name]})
    if filters.get("campaign_id") is not None:
        found = found.filter(_of_campaign(realm, filters["campaign_id"]))
    return found


def program_of(realm: Realm, program_id: object) -> GrantProgram:
    """Return the realm's program of that id (404 if none)."""
    key = parse_uuid(str(program_id))
    found = GrantProgram.objects.in_realm(realm).select_related("realm")
    program = found.filter(pk=key).first() if key else None
    if program is None:
        raise NotFound(f"There is no grant program {program_id}.", field="program_id")
    return program


def programs_named(
    realm: Realm, codes: Iterable[str], *, field: str
) -> dict[str, GrantProgram]:
    """Return the realm's programs by code.

    Refuses (`Invalid`) codes it has not, and the program of overage. `field` holds the
    list of bindings that name them: its n-th one is at fault.
    """
    named = list(codes)
    found = {
        program.program_code: program
        for program in GrantProgram.objects.in_realm(realm).filter(
            program_code__in=named
        )
    }
    for index, code in enumerate(named):
        if code not in found:
            raise Invalid(
                f"This realm has no grant program {code}.",
                field=f"{field}.{index}.grant_program_code",
            )
        if found[code].grant_kind == LotKind.FALLBACK:
            raise Invalid(
                f"{code} holds what is owed; nobody can be given it.",
                field=f"{field}.{index}.grant_program_code",
            )
    return found


def _of_campaign(realm: Realm, campaign_id: str) -> Q:
    key = parse_uuid(campaign_id)
    campaigns = GrantCampaign.objects.in_realm(realm)
    campaign = campaigns.filter(pk=key).first() if key else None
    if campaign is None:
        return Q(pk__in=[])
    given = GrantAssignment.objects.filter(
        realm=realm, campaign=campaign, program=OuterRef("pk")
    )
    return Q(program_code__in=campaign.program_codes) | Q(Exists(given))
