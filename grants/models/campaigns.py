from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from catalog.models.rules import in_one_realm, is_given, is_object, is_one_of
from config.kernel.metadata import CampaignBinding, CampaignMetadata, check_metadata
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, RealmQuerySet, Row
from config.tenancy.models.windows import Window
from grants.models.kinds import CampaignStatus, CampaignTrigger


class GrantCampaign(Row, Window):
    """Grants given for a window, to targeted accounts or on matching events.

    Without an `event_type` it enrolls every active user of the accounts that
    `target_filter` names (`billing_account_ids`; all, where it names none) while it is
    active. With one, it gives on each domain event of that kind whose payload contains
    `payload_match`. `metadata.grants` are its bindings. `ended` is final.
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    name = models.TextField()
    status = models.TextField(choices=CampaignStatus, default=CampaignStatus.SCHEDULED)
    event_type = models.TextField(  # noqa: DJ001 - NULL: not by event.
        null=True, blank=True, help_text="Empty means: not by event, but by target."
    )
    payload_match = models.JSONField(default=dict, blank=True)
    assignment_trigger = models.TextField(  # noqa: DJ001 - NULL: not by event.
        choices=CampaignTrigger, null=True, blank=True
    )
    target_filter = models.JSONField(default=dict, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)

    objects = RealmQuerySet.as_manager()
    history = AuditedRecords(table_name="grant_campaigns_history")

    class Meta(Window.Meta):
        abstract = False
        db_table = "grant_campaigns"
        verbose_name = "campaign"
        constraints = [
            *Window.Meta.constraints,
            in_one_realm(name="grant_campaign_in_one_realm"),
            models.UniqueConstraint(
                "realm",
                Lower("name"),
                name="grant_campaign_name_once_per_realm",
                violation_error_message=(
                    "This realm already has a campaign of that name."
                ),
            ),
            is_given(
                "name", name="grant_campaign_has_a_name", message="Name the campaign."
            ),
            is_one_of("status", CampaignStatus, name="grant_campaign_status_is_known"),
            is_one_of(
                "assignment_trigger",
                CampaignTrigger,
                name="grant_campaign_trigger_is_known",
            ),
            models.CheckConstraint(
                name="grant_campaign_event_has_a_trigger",
                condition=Q(event_type__isnull=True, assignment_trigger__isnull=True)
                | Q(event_type__isnull=False, assignment_trigger__isnull=False),
                violation_error_message=(
                    "A campaign by event says how often it gives to one user."
                ),
            ),
            models.CheckConstraint(
                name="grant_campaign_event_is_1_to_128_characters",
                condition=Q(event_type__isnull=True)
                | Q(event_type__regex=r"\A\S{1,128}\Z"),
                violation_error_message=(
                    "An event's name has 1 to 128 characters and no spaces."
                ),
            ),
            models.CheckConstraint(
                name="grant_campaign_ended_when_told",
                condition=Q(status=CampaignStatus.ENDED, ended_at__isnull=False)
                | (~Q(status=CampaignStatus.ENDED) & Q(ended_at__isnull=True)),
                violation_error_message="An ended campaign says when it ended.",
            ),
            is_object("payload_match", name="grant_campaign_payload_match_is_object"),
            is_object("target_filter", name="grant_campaign_target_filter_is_object"),
            is_object("metadata", name="grant_campaign_metadata_is_object"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def bindings(self) -> tuple[CampaignBinding, ...]:
        """Return what it gives: its bindings, less those that deny."""
        known = check_metadata(CampaignMetadata, self.metadata).known
        return tuple(each for each in known.grants if each.effect != "deny")

    @property
    def program_codes(self) -> list[str]:
        """Return the codes of the programs that it gives."""
        return [binding.grant_program_code for binding in self.bindings]
