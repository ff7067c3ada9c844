"""Grant bindings: which grant programs an object brings, and on what terms."""

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from config.kernel.metadata.fields import (
    Choice,
    Contract,
    Flag,
    Instant,
    JsonObject,
    Key,
    Kind,
    Label,
    Priority,
    RequiredKey,
    Seconds,
    Sequence,
    Xusd,
    known,
    rule_broken,
)

# A program's anchors; a billing period has its own.
GrantAnchor = Literal[
    "calendar_start", "binding_start", "first_use", "billing_period_start"
]
Effect = Literal["allow", "deny"]
WindowKind = Literal["period", "fixed", "forever", "relative_duration"]
GrantKind = Literal[
    "grant", "sponsorship", "promo", "credit", "cash", "wallet", "other"
]
ExpiryPolicy = Literal["forfeit", "refund", "carryover", "none"]


class GrantOverride(Contract):
    """What one grant assignment changes of its program's terms."""

    grant_program_code: Key = known("The program, if repeated here.")
    amount_xusd: Xusd = known("Face amount, instead of the program's.")
    effect: Choice[Effect] = known("deny suppresses the grant; allow is the default.")
    template_key: Label = known("Keeps the binding's identity.")
    template_meta: JsonObject = known("Copied to the binding.")
    scale_by_invoice_quantity: Flag = known(
        "Whether the amount is multiplied by the quantity bought."
    )
    on_ledger_override: Flag = known("Whether lots are posted to the ledger.")
    issue_anchor_override: Choice[GrantAnchor] = known(
        "From where the issuance periods are counted."
    )
    window_kind_override: Choice[WindowKind] = known("How long a lot can be spent.")
    window_relative_seconds_override: Seconds = known(
        "Seconds that a lot of a relative window can be spent."
    )
    alloc_seq_override: Sequence = known("Tells apart several issuances in one period.")
    priority_override: Priority = known(
        "Among lots that end together, the higher is spent first."
    )
    kind_override: Choice[GrantKind] = known("The kind of the issued lots.")
    expiry_policy: Choice[ExpiryPolicy] = known(
        "What becomes of the rest when a lot's window ends."
    )
    metadata: JsonObject = known("Merged into the lot's metadata.")


class GrantBinding(GrantOverride):
    """One element of `grants[]`: a program, and what differs from its terms."""

    grant_program_code: RequiredKey = Field(description="The grant program to issue.")


class CampaignBinding(GrantBinding):
    """One element of a campaign's `grants[]`: a binding with a window of its own."""

    binding_window_start: Instant = known(
        "From when the grant holds; else from the campaign's start, or the event."
    )
    binding_window_end: Instant = known(
        "Until when the grant holds; else as long as the campaign."
    )


BindingT = TypeVar("BindingT", bound=GrantBinding)


def _as_bindings(value: object) -> tuple[object, ...]:
    if value is None:
        return ()
    if isinstance(value, dict):
        return (value,)
    if isinstance(value, list):
        return tuple(value)
    raise rule_broken("must be an array of objects, or one object")


def _distinct_programs(bindings: tuple[BindingT, ...]) -> tuple[BindingT, ...]:
    seen: set[str] = set()
    for index, binding in enumerate(bindings):
        code = binding.grant_program_code
        if code in seen:
            place = (index, "grant_program_code")
            raise rule_broken(f"must not repeat '{code}' within one list", *place)
        seen.add(code)
    return bindings


Grants = Annotated[
    tuple[GrantBinding, ...],
    BeforeValidator(_as_bindings),
    AfterValidator(_distinct_programs),
    Kind("list"),
]
CampaignGrants = Annotated[
    tuple[CampaignBinding, ...],
    BeforeValidator(_as_bindings),
    AfterValidator(_distinct_programs),
    Kind("list"),
]
