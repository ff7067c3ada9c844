"""What a campaign may be made of, checked before it is stored."""

from collections.abc import Mapping
from typing import Any

from django.db.models import TextChoices

from billing.models import BillingAccount, Plan
from config.kernel.errors import Invalid
from config.kernel.ids import parse_uuid
from config.kernel.metadata import CampaignMetadata, check_metadata
from config.kernel.metadata.document import check_document
from config.kernel.windows import Window
from config.tenancy.models import Realm
from grants.models import CampaignStatus, CampaignTrigger
from grants.selectors.programs import programs_named

MAX_ACCOUNTS = 1_000
MAX_EVENT_TYPE = 128
OWN_EVENTS = (
    "grant.",
    "grant_assignment.",
    "grant_campaign.",
    "grant_program.",
    "ledger.",
    "wallet.",
)
"""Kinds of events that giving brings about: a campaign on one would feed itself."""

_TARGETS = "target_filter.billing_account_ids"


def check_campaign(realm: Realm, values: Mapping[str, Any]) -> None:
    """Refuse (`Invalid`) fields, given all together, that no campaign may have.

    The name is left to the verb, and what may follow on which status.
    """
    _require_one_of(CampaignStatus, values, "status")
    window = Window(values["window_start"], values["window_end"])
    _check_trigger(values)
    _check_targets(realm, check_document(values["target_filter"], "target_filter"))
    known = check_metadata(CampaignMetadata, values["metadata"]).known
    _check_bindings(realm, known, window)
    plan_code = known.billing_plan_code
    plans = Plan.objects.in_realm(realm).filter(plan_code=plan_code, active=True)
    if plan_code is not None and not plans.exists():
        raise Invalid(
            f"This realm has no active plan {plan_code}.",
            field="metadata.billing_plan_code",
        )


def _require_one_of(
    words: type[TextChoices], values: Mapping[str, Any], name: str
) -> None:
    if values[name] not in words.values:
        raise Invalid(f"{name} must be one of {', '.join(words.values)}.", field=name)


def _check_trigger(values: Mapping[str, Any]) -> None:
    event_type, trigger = values["event_type"], values["assignment_trigger"]
    match = check_document(values["payload_match"], "payload_match")
    if event_type is None:
        if trigger or match:
            raise Invalid(
                "A campaign with a trigger or a payload to match needs its event_type.",
                field="event_type",
            )
        return
    if trigger is None:
        raise Invalid(
            "A campaign by event says how often it gives to one user.",
            field="assignment_trigger",
        )
    _require_one_of(CampaignTrigger, values, "assignment_trigger")
    if len(event_type) > MAX_EVENT_TYPE or event_type.split() != [event_type]:
        raise Invalid(
            f"An event's name has 1 to {MAX_EVENT_TYPE} characters and no spaces.",
            field="event_type",
        )
    if event_type.startswith(OWN_EVENTS):
        raise Invalid(
            f"{event_type} is an event of grants themselves: the campaign would feed "
            "itself.",
            field="event_type",
        )


def _check_targets(realm: Realm, target_filter: Mapping[str, Any]) -> None:
    for name in target_filter:
        if name != "billing_account_ids":
            raise Invalid(
                f"A target filter has no {name}.", field=f"target_filter.{name}"
            )
    named = target_filter.get("billing_account_ids", [])
    if not isinstance(named, list) or len(named) > MAX_ACCOUNTS:
        raise Invalid(f"Must list at most {MAX_ACCOUNTS} account ids.", field=_TARGETS)
    keys = [parse_uuid(each) for each in named]
    accounts = BillingAccount.objects.in_realm(realm)
    known = {*accounts.filter(pk__in=filter(None, keys)).values_list("pk", flat=True)}
    for index, key in enumerate(keys):
        if key not in known:
            raise Invalid(
                "There is no account by that id in this realm.",
                field=f"{_TARGETS}.{index}",
            )


def _check_bindings(realm: Realm, known: CampaignMetadata, window: Window) -> None:
    if not known.grants:
        raise Invalid("A campaign gives at least one grant.", field="metadata.grants")
    for index, binding in enumerate(known.grants):
        place = f"metadata.grants.{index}"
        if binding.amount_xusd is None:
            # The official client's campaigns have one on each binding.
            raise Invalid(
                "A grant of a campaign needs its amount.", field=f"{place}.amount_xusd"
            )
        start = binding.binding_window_start or window.start
        end = binding.binding_window_end or window.end
        if end is not None and end <= start:
            raise Invalid(
                "The binding's window must end after it starts.",
                field=f"{place}.binding_window_end",
            )
    codes = [binding.grant_program_code for binding in known.grants]
    programs_named(realm, codes, field="metadata.grants")
