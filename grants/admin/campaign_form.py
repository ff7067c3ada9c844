"""The form of a campaign."""

from typing import Any

from django import forms

from billing.models import BillingAccount
from config.admin.bases import LinesField, UtcDateTimeField, metadata_form
from config.kernel.metadata import CampaignMetadata
from grants.admin.grant_rows import ADVANCED, GrantRowsForm
from grants.models import GrantCampaign

TARGETS = "billing_account_ids"


class CampaignForm(GrantRowsForm, metadata_form(CampaignMetadata)):  # type: ignore[misc]
    """What a campaign gives, to whom, and when."""

    window_start = UtcDateTimeField(label="Starts")
    window_end = UtcDateTimeField(
        label="Ends",
        required=False,
        help_text="Date and time in UTC. Empty means it runs until somebody ends it.",
    )
    principals = LinesField(
        label="Accounts",
        required=False,
        widget=forms.Textarea({"rows": 4}),
        help_text="One principal (the customer's own id) per line. Empty means every "
        "account of the realm.",
    )
    shown_by = {f"target_filter.{TARGETS}": "principals", "target_filter": "principals"}

    class Meta:
        model = GrantCampaign
        fields = (
            "realm", "name", "window_start", "window_end", "event_type",
            "assignment_trigger", "payload_match", "metadata",
        )  # fmt: skip
        labels = {
            "event_type": "On the event",
            "assignment_trigger": "How often",
            "payload_match": "Only where the event says",
        }
        help_texts = {
            "name": "For people, once per realm.",
            "event_type": "Like billing_user.activated. Empty means: not on events, "
            "but to the accounts above.",
            "assignment_trigger": "Only with an event.",
            "payload_match": "Only with an event: a JSON object that the event must "
            "contain. Empty means any.",
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "principals" in self.fields and not self.instance._state.adding:
            self.initial["principals"] = principals_of(self.instance)
        if self.metadata_field in self.fields:
            self.fields[self.metadata_field].label = "Advanced"
            self.fields[self.metadata_field].help_text = ADVANCED

    def clean_event_type(self) -> str | None:
        """Return the event's name; an empty box is none."""
        return self.cleaned_data["event_type"] or None

    def clean(self) -> dict[str, Any]:
        """Find the accounts that are named. Refuses principals that nobody has."""
        cleaned: dict[str, Any] = super().clean()
        realm = cleaned.get("realm") or getattr(self.instance, "realm", None)
        named = cleaned.get("principals") or []
        if realm is None or "principals" in self.errors:
            return cleaned
        accounts = BillingAccount.objects.in_realm(realm).filter(
            billing_principal_id__in=named
        )
        found = dict(accounts.values_list("billing_principal_id", "pk"))
        missing = [principal for principal in named if principal not in found]
        if missing:
            sentence = f"The realm {realm} has no account {', '.join(missing)}."
            self.add_error("principals", sentence)
        keys = [str(found[principal]) for principal in named if principal in found]
        cleaned["target_filter"] = {TARGETS: keys} if keys else {}
        return cleaned


def principals_of(campaign: GrantCampaign) -> list[str]:
    """Return the principals of the accounts that a campaign targets, [] for all."""
    keys = campaign.target_filter.get(TARGETS, [])
    accounts = BillingAccount.objects.in_realm(campaign.realm_id).filter(pk__in=keys)
    return list(
        accounts.order_by("billing_principal_id").values_list(
            "billing_principal_id", flat=True
        )
    )
