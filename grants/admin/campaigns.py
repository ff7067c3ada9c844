"""Campaigns: grants given to many for a while, or on events."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from catalog.admin.bases import RealmDefinitionAdmin
from catalog.admin.filters import TimeFilter
from catalog.admin.words import moment
from config.admin.bases import (
    GRANTS,
    ActionVariant,
    CommandForm,
    InUse,
    Menu,
    Preview,
    command,
    known_fields,
)
from config.kernel.audit import AuditContext
from config.kernel.clock import now
from config.kernel.metadata import CampaignMetadata
from grants.admin.campaign_form import CampaignForm, principals_of
from grants.admin.campaign_reach import gives_text, reach_table
from grants.admin.grant_rows import ROW_FIELDS
from grants.admin.words import counted
from grants.models import CampaignStatus, GrantAssignment, GrantCampaign
from grants.services.campaigns import (
    CampaignTerms,
    change_campaign,
    create_campaign,
    delete_campaign,
)

CHANGE = "grants.change_grantcampaign"
STARTS_SOON = "Starts within a minute"
STATE_COLORS = {
    CampaignStatus.SCHEDULED.label: "info",
    STARTS_SOON: "info",
    CampaignStatus.ACTIVE.label: "success",
    CampaignStatus.PAUSED.label: "warning",
    CampaignStatus.ENDED.label: "default",
}
_FIELDS = (
    "name", "window_start", "window_end", "event_type", "assignment_trigger",
    "payload_match", "metadata",
)  # fmt: skip


def _is(*statuses: str) -> Any:
    def stands(campaign: GrantCampaign) -> bool:
        return campaign.status in statuses

    return stands


@admin.register(GrantCampaign)
class CampaignAdmin(RealmDefinitionAdmin):
    """Campaigns."""

    menu = Menu(GRANTS, icon="campaign", order=50)
    empty_message = (
        "A campaign gives grants to many for a while, or to whoever an event is about. "
        "Add the first one."
    )
    form = CampaignForm
    viewed_as = {"principals": "targets", ROW_FIELDS[0]: "gives"}
    deletable = True
    list_display = (
        "name", "state", "gives", "to_whom", "starts", "ends", "given", "realm",
    )  # fmt: skip
    list_filter = ("status", ("window_start", TimeFilter), "realm")
    list_select_related = ("realm",)
    search_fields = ("name", "event_type", "id__iexact")
    search_help_text = "Name, event or campaign id"
    ordering = ("-id",)
    readonly_fields = ("state", "given")
    export_fields = (
        "id", "realm", "name", "status", "event_type", "assignment_trigger",
        "payload_match", "target_filter", "window_start", "window_end", "ended_at",
        "metadata", "created_at",
    )  # fmt: skip
    fieldsets = (
        (
            None,
            {"fields": ("realm", "name", "state", "given", "window_start",
                        "window_end")},
        ),
        (
            "To whom",
            {
                "fields": ("principals", "event_type", "assignment_trigger",
                           "payload_match"),
                "description": "Without an event, every active user of the accounts is "
                "given it once. With one, whoever the event is about.",
            },
        ),
        (
            "What it gives",
            {
                "fields": (*ROW_FIELDS, *known_fields(CampaignMetadata)),
                "description": "A program and an amount per row; rows that you do not "
                "need stay empty. A change holds for those enrolled from then on; what "
                "was given stays.",
            },
        ),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[GrantCampaign]:
        """Return the campaigns with how many grants each gave."""
        bound = GrantAssignment.objects.filter(
            realm=OuterRef("realm"), campaign=OuterRef("pk")
        )
        counts = bound.order_by().values("campaign").annotate(n=Count("pk"))
        campaigns: QuerySet[GrantCampaign] = super().get_queryset(request)
        return campaigns.annotate(given_count=Coalesce(Subquery(counts.values("n")), 0))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the groups; a new campaign stands nowhere and gave nothing yet."""
        groups: Any = super().get_fieldsets(request, obj)
        if obj is not None:
            return groups
        [(title, first), *others] = groups
        names = [name for name in first["fields"] if name not in {"state", "given"}]
        return [(title, {**first, "fields": names}), *others]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether it may be changed; one that ended stays as it is."""
        open_ = obj is None or obj.status != CampaignStatus.ENDED
        return open_ and bool(super().has_change_permission(request, obj))

    @display(description="State", label=STATE_COLORS, ordering="status")
    def state(self, campaign: GrantCampaign) -> str:
        """Return how it stands."""
        due = campaign.window_start <= now()
        if campaign.status == CampaignStatus.SCHEDULED and due:
            return STARTS_SOON
        return str(campaign.get_status_display())

    @display(description="Gives")
    def gives(self, campaign: GrantCampaign) -> str:
        """Return what it gives, per program."""
        return gives_text(campaign)

    @display(description="To whom")
    def to_whom(self, campaign: GrantCampaign) -> str:
        """Return whom it targets, in few words."""
        if campaign.event_type:
            return f"Whoever {campaign.event_type} is about"
        named = campaign.target_filter.get("billing_account_ids", [])
        return counted(len(named), "account") if named else "Every account"

    @display(description="Accounts")
    def targets(self, campaign: GrantCampaign) -> str:
        """Return the principals of the accounts that it targets."""
        return ", ".join(principals_of(campaign)) or "Every account"

    @display(description="Starts (UTC)", ordering="window_start")
    def starts(self, campaign: GrantCampaign) -> Any:
        """Return when it starts."""
        return moment(campaign.window_start)

    @display(description="Ends (UTC)", ordering="window_end")
    def ends(self, campaign: GrantCampaign) -> Any:
        """Return when it ends."""
        return moment(campaign.window_end)

    @display(description="Given so far")
    def given(self, campaign: Any) -> Any:
        """Return how many grant assignments it made, as a link to them."""
        return format_html(
            '<a href="{}?campaign={}" class="text-link">{}</a>',
            reverse("admin:grants_grantassignment_changelist"),
            campaign.pk,
            counted(campaign.given_count, "grant assignment"),
        )

    def save_definition(
        self,
        obj: GrantCampaign,
        form: Any,
        *,
        change: bool,
        at: datetime,
        by: AuditContext,
    ) -> GrantCampaign:
        """Create or change the campaign by its verb."""
        values = {name: getattr(obj, name) for name in _FIELDS}
        values["target_filter"] = form.cleaned_data["target_filter"]
        if change:
            return change_campaign(campaign=obj, changes=values, at=at, by=by)
        terms = CampaignTerms(**values)
        return create_campaign(realm=obj.realm, terms=terms, at=at, by=by)

    def delete_definition(
        self, obj: GrantCampaign, *, at: datetime, by: AuditContext
    ) -> None:
        """Delete the campaign. Refuses (`InUse`) one that gave something."""
        if delete_campaign(campaign=obj, at=at, by=by) == "ended":
            raise InUse(
                f"{obj} stays on record, because it gave something. Press “End” on its "
                "page instead."
            )

    def preview_turn(
        self,
        _request: HttpRequest,
        campaign: GrantCampaign,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Preview:
        """Return how many people it is about, and how much money."""
        return [reach_table(campaign)]

    @command(
        "Start",
        permission=CHANGE,
        icon="play_circle",
        description="It gives from now on, as soon as its own start has come.",
        available=_is(CampaignStatus.SCHEDULED, CampaignStatus.PAUSED),
        preview=preview_turn,
    )
    def start(
        self,
        _request: HttpRequest,
        campaign: GrantCampaign,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Start the campaign, or start it again."""
        _turn(campaign, CampaignStatus.ACTIVE, at=at, by=by)
        return f"{campaign} is active."

    @command(
        "Pause",
        permission=CHANGE,
        icon="pause_circle",
        description="It gives nothing until it is started again. What it gave stays.",
        available=_is(CampaignStatus.SCHEDULED, CampaignStatus.ACTIVE),
        preview=preview_turn,
    )
    def pause(
        self,
        _request: HttpRequest,
        campaign: GrantCampaign,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Pause the campaign."""
        _turn(campaign, CampaignStatus.PAUSED, at=at, by=by)
        return f"{campaign} is paused."

    @command(
        "End",
        permission=CHANGE,
        icon="event_busy",
        variant=ActionVariant.DANGER,
        description="It gives nothing any more, for good. What it gave stays.",
        available=_is(
            CampaignStatus.SCHEDULED, CampaignStatus.ACTIVE, CampaignStatus.PAUSED
        ),
        preview=preview_turn,
    )
    def end(
        self,
        _request: HttpRequest,
        campaign: GrantCampaign,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """End the campaign."""
        _turn(campaign, CampaignStatus.ENDED, at=at, by=by)
        return f"{campaign} has ended."


def _turn(
    campaign: GrantCampaign, status: str, *, at: datetime, by: AuditContext
) -> None:
    change_campaign(campaign=campaign, changes={"status": status}, at=at, by=by)
