"""Contracts: what was agreed with an account, and every version of its terms."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from billing.admin.accounts import MAY_MANAGE_CONTRACTS
from billing.admin.assignment_forms import EndForm
from billing.admin.contract_forms import PriceForm, TermForm, term_preview
from billing.admin.contract_words import (
    CONTRACT_COLORS,
    TERM_COLORS,
    contract_state,
    term_text,
)
from billing.admin.related import Related, add_related
from billing.admin.words import minute_text, short_text
from billing.models import BillingContract, ContractStatus, ContractTerm
from billing.services.contracts import change_contract, end_contract
from catalog.admin.bases import ReadOnlyInline
from catalog.admin.words import linked
from config.admin.bases import (
    ACCOUNTS,
    ActionVariant,
    CommandForm,
    Menu,
    Preview,
    RecordAdmin,
    command,
    json_block,
)
from config.kernel.audit import AuditContext
from config.kernel.clock import now

NO_END = "No end"


@display(description="State", label=TERM_COLORS)
def term_state(term: Any) -> str:
    """Return where a version stands among those of its term."""
    if term.effective_at > now():
        return "Starts later"
    return "Superseded" if term.is_superseded else "Latest"


@display(description="From (UTC)")
def term_start(term: ContractTerm) -> str:
    """Return the first instant of a version."""
    return short_text(term.effective_at)


@display(description="What it says")
def term_says(term: ContractTerm) -> str:
    """Return a version in words."""
    return term_text(term)


@display(description="As stored")
def term_json(term: ContractTerm) -> SafeString:
    """Return a version's JSON, to be read."""
    return json_block(term.value_json)


@display(description="Set by")
def term_author(term: ContractTerm) -> str:
    """Return who added a version, and why."""
    return f"{term.operator}: {term.reason} ({term.ticket_id})"


class ContractTermInline(ReadOnlyInline):
    """The versions of a contract's terms, by key, the newest first."""

    model = ContractTerm
    verbose_name_plural = "versions of terms"
    fields = ("kind", "term_key", term_state, term_start, term_says, term_json,
              term_author)  # fmt: skip
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[ContractTerm]:
        """Return the versions, each with whether a later one holds."""
        later = ContractTerm.objects.filter(
            contract=OuterRef("contract"),
            kind=OuterRef("kind"),
            term_key=OuterRef("term_key"),
            effective_at__gt=OuterRef("effective_at"),
            effective_at__lte=now(),
        )
        rows: QuerySet[ContractTerm] = super().get_queryset(request)
        return rows.annotate(is_superseded=Exists(later)).order_by(
            "kind", "term_key", "-effective_at"
        )


@admin.register(BillingContract)
class ContractAdmin(RecordAdmin):
    """Contracts, found by account or name."""

    menu = Menu(ACCOUNTS, icon="contract", order=40)
    empty_message = (
        "No contract yet: the catalog's prices hold for everybody. Open an account and "
        "press “Add contract”, or let your backend send it."
    )
    list_display = (
        "account_link", "named", "state", "starts", "ends", "term_count", "realm",
    )  # fmt: skip
    list_display_links = ("named",)
    list_filter = ("status", "realm")
    list_select_related = ("account", "realm")
    search_fields = ("account__billing_principal_id", "name", "id__iexact")
    search_help_text = "Principal, name of the contract or its id"
    ordering = ("-window_start", "pk")
    inlines = (ContractTermInline,)
    fields = (
        "account_link", "named", "state", "window_start", "ends", "status", "metadata",
        "id", "created_at", "updated_at",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[BillingContract]:
        """Return the contracts with their terms counted, and if another prevails."""
        at = now()
        prevailing = BillingContract.objects.effective(at).filter(
            account=OuterRef("account"),
            status=ContractStatus.ACTIVE,
            window_start__gt=OuterRef("window_start"),
        )
        rows: QuerySet[BillingContract] = super().get_queryset(request)
        return rows.annotate(
            is_overridden=Exists(prevailing),
            versions=Count("terms"),
        )

    @admin.display(description="Account", ordering="account__billing_principal_id")
    def account_link(self, contract: BillingContract) -> Any:
        """Return a link to the account."""
        return linked(contract.account)

    @admin.display(description="Name", ordering="name")
    def named(self, contract: BillingContract) -> str:
        """Return what people call it."""
        return contract.name or "Without a name"

    @display(description="State now", label=CONTRACT_COLORS)
    def state(self, contract: Any) -> str:
        """Return where it stands now."""
        return contract_state(contract, overridden=contract.is_overridden, at=now())

    @admin.display(description="From (UTC)", ordering="window_start")
    def starts(self, contract: BillingContract) -> str:
        """Return its first instant."""
        return short_text(contract.window_start)

    @admin.display(description="Until (UTC)", ordering="window_end")
    def ends(self, contract: BillingContract) -> str:
        """Return the instant from which it is no longer in force."""
        return short_text(contract.window_end) if contract.window_end else NO_END

    @admin.display(description="Versions of terms")
    def term_count(self, contract: Any) -> int:
        """Return how many versions of terms it has."""
        count: int = contract.versions
        return count

    def preview_term(
        self, _request: HttpRequest, _contract: Any, form: Any, *, at: datetime, by: Any
    ) -> Preview:
        """Return what the term would change."""
        return term_preview(form, at=at, by=by)

    @command(
        "Set price",
        permission=MAY_MANAGE_CONTRACTS,
        form=PriceForm,
        icon="price_change",
        description="Adds a version of the meter's price. Earlier versions stay, and "
        "hold until this one starts.",
        preview=preview_term,
    )
    def set_price(
        self,
        _request: HttpRequest,
        _contract: BillingContract,
        form: Any,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Add a version of a meter's price."""
        term = form.perform(at=at, by=by)
        return f"The price of {term.term_key} holds from {_when(term)} on."

    @command(
        "Add term",
        permission=MAY_MANAGE_CONTRACTS,
        form=TermForm,
        icon="post_add",
        description="Adds a version of any term, written as JSON. A version is never "
        "changed: another one follows it.",
        preview=preview_term,
    )
    def add_term(
        self,
        _request: HttpRequest,
        _contract: BillingContract,
        form: Any,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Add a version of a term."""
        term = form.perform(at=at, by=by)
        return f"The term {term.term_key} holds from {_when(term)} on."

    @command(
        "End",
        permission=MAY_MANAGE_CONTRACTS,
        form=EndForm,
        icon="event_busy",
        variant=ActionVariant.DANGER,
        description="From then on an earlier contract that still runs, or else the "
        "catalog, says what is paid.",
    )
    def end(
        self,
        _request: HttpRequest,
        contract: BillingContract,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """End it."""
        end_contract(contract=contract, end_at=by.effective_at, at=at, by=by)
        return f"The contract ends on {minute_text(by.effective_at)}."

    @command(
        "Disable",
        permission=MAY_MANAGE_CONTRACTS,
        icon="block",
        variant=ActionVariant.DANGER,
        description="Takes the contract out of force from now on, whatever its window "
        "says; it can be enabled again.",
        available=lambda contract: contract.status == ContractStatus.ACTIVE,
    )
    def disable(
        self,
        _request: HttpRequest,
        contract: BillingContract,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Take it out of force."""
        changes = {"status": ContractStatus.DISABLED}
        change_contract(contract=contract, changes=changes, at=at, by=by)
        return "The contract is disabled."

    @command(
        "Enable",
        permission=MAY_MANAGE_CONTRACTS,
        icon="check_circle",
        available=lambda contract: contract.status == ContractStatus.DISABLED,
    )
    def enable(
        self,
        _request: HttpRequest,
        contract: BillingContract,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Put it back into force."""
        changes = {"status": ContractStatus.ACTIVE}
        change_contract(contract=contract, changes=changes, at=at, by=by)
        return "The contract is enabled."


def _when(term: ContractTerm) -> str:
    return minute_text(term.effective_at)


add_related(
    Related(
        label="Contracts",
        url_name="admin:billing_billingcontract_changelist",
        permission="billing.view_billingcontract",
        order=5,
        of_users=False,
    )
)
