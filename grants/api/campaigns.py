"""`/grant-campaigns`."""

from typing import cast

from billing.api.changes import given_changes
from billing.api.plans import wire_metadata
from config.api.envelope import Answer
from config.api.metadata import warnings_meta
from config.api.operations import Call, operation
from config.api.pagination import items, page_limit, paginate
from config.api.views import ServiceView
from config.api.wire import (
    Instant,
    JsonObject,
    ListQuery,
    Name,
    PlanCode,
    WireModel,
    WriteModel,
)
from config.kernel.metadata import CampaignMetadata
from grants.api.words import CampaignStatusName, Trigger
from grants.models import GrantCampaign
from grants.selectors.campaigns import campaign_of, list_campaigns
from grants.services.campaigns import (
    CampaignTerms,
    change_campaign,
    create_campaign,
    delete_campaign,
)


class CampaignOut(WireModel):
    """A campaign as the wire shows it; one by target has no `event_type`."""

    campaign_id: str
    realm_id: str
    name: str
    status: CampaignStatusName
    window_start: Instant
    window_end: Instant | None
    event_type: str | None
    payload_match: JsonObject
    assignment_trigger: Trigger | None
    target_filter: JsonObject
    ended_at: Instant | None
    metadata: JsonObject
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, row: GrantCampaign) -> "CampaignOut":
        """Return the wire form of a campaign."""
        return cls(
            campaign_id=str(row.pk),
            realm_id=row.realm_id,
            name=row.name,
            status=cast("CampaignStatusName", row.status),
            window_start=row.window_start,
            window_end=row.window_end,
            event_type=row.event_type,
            payload_match=row.payload_match,
            assignment_trigger=cast("Trigger | None", row.assignment_trigger),
            target_filter=row.target_filter,
            ended_at=row.ended_at,
            metadata=wire_metadata(row.metadata),
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class CampaignPage(WireModel):
    """A page of campaigns."""

    items: list[CampaignOut]
    next_cursor: str | None = None


class CampaignCreate(WriteModel):
    """A campaign to create, by event or, without an `event_type`, by target."""

    name: Name
    status: CampaignStatusName = "scheduled"
    window_start: Instant
    window_end: Instant | None = None
    event_type: PlanCode | None = None
    payload_match: JsonObject = {}
    assignment_trigger: Trigger | None = None
    target_filter: JsonObject = {}
    metadata: JsonObject


class CampaignChange(WriteModel):
    """The fields of a campaign to change; `window_end: null` re-opens it."""

    name: Name | None = None
    status: CampaignStatusName | None = None
    window_start: Instant | None = None
    window_end: Instant | None = None
    event_type: PlanCode | None = None
    payload_match: JsonObject | None = None
    assignment_trigger: Trigger | None = None
    target_filter: JsonObject | None = None
    metadata: JsonObject | None = None


class CampaignQuery(ListQuery):
    """Filters of the campaign list; `q` is looked for in names."""

    status: CampaignStatusName | None = None
    event_type: str | None = None
    q: str | None = None


class CampaignDeletion(WireModel):
    """What became of a campaign: gone, or ended because it has given."""

    deleted: bool
    soft_deleted: bool


class Campaigns(ServiceView):
    """`/grant-campaigns`."""

    @operation(
        "list_grant_campaigns",
        query=CampaignQuery,
        answer=CampaignPage,
        realm_wide=True,
    )
    def get(self, call: Call, query: CampaignQuery) -> Answer:
        """List campaigns, newest first."""
        page = paginate(
            list_campaigns(call.realm, **query.given("limit", "cursor")),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
        )
        return Answer(items(page, CampaignOut.of))

    @operation(
        "create_grant_campaign",
        body=CampaignCreate,
        answer=CampaignOut,
        statuses=(201,),
    )
    def post(self, call: Call, body: CampaignCreate) -> Answer:
        """Create a campaign; a name that exists, in any case, is refused."""
        campaign = create_campaign(
            realm=call.realm,
            terms=CampaignTerms(**body.given()),
            at=call.at,
            by=call.by,
        )
        return Answer(
            CampaignOut.of(campaign),
            status=201,
            meta=warnings_meta(CampaignMetadata, body.metadata),
        )


class CampaignDetail(ServiceView):
    """`/grant-campaigns/{campaign_id}`."""

    @operation("get_grant_campaign", answer=CampaignOut, realm_wide=True)
    def get(self, call: Call, campaign_id: str) -> Answer:
        """Read a campaign."""
        return Answer(CampaignOut.of(campaign_of(call.realm, campaign_id)))

    @operation("update_grant_campaign", body=CampaignChange, answer=CampaignOut)
    def patch(self, call: Call, campaign_id: str, body: CampaignChange) -> Answer:
        """Change a campaign, for those enrolled from then on; an ended one stays so."""
        nullable = {"window_end", "event_type", "assignment_trigger"}
        campaign = change_campaign(
            campaign=campaign_of(call.realm, campaign_id),
            changes=given_changes(body, nullable),
            at=call.at,
            by=call.by,
        )
        return Answer(
            CampaignOut.of(campaign),
            meta=warnings_meta(CampaignMetadata, body.metadata),
        )

    @operation("delete_grant_campaign", body=WriteModel, answer=CampaignDeletion)
    def delete(self, call: Call, campaign_id: str, body: WriteModel) -> Answer:
        """Delete a campaign that gave nothing; end one that did."""
        campaign = campaign_of(call.realm, campaign_id)
        outcome = delete_campaign(campaign=campaign, at=call.at, by=call.by)
        gone = outcome == "deleted"
        return Answer(CampaignDeletion(deleted=gone, soft_deleted=not gone))
