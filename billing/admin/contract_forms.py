"""The forms of a contract and of its terms, and what a term would change."""

from datetime import datetime
from typing import Any

from django import forms

from billing.admin.contract_words import pricing_text
from billing.models import BillingContract, ContractTerm, TermKind
from billing.policies.contract_pricing import SCHEMA_V2, read_pricing
from billing.policies.contract_rates import Rate, Rates, adjusted
from billing.services.contract_terms import add_contract_term
from catalog.admin.words import rate_text
from catalog.models import Meter
from catalog.selectors.prices import price_in_force
from config.admin.bases import (
    CommandForm,
    JsonField,
    Preview,
    Table,
    TimedForm,
    UtcDateTimeField,
)
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, Invalid
from config.kernel.money import INT64_MAX

_EXAMPLE = {
    "schema": SCHEMA_V2,
    "meter_code": "…",
    "price": {"adjustments": [{"op": "multiplier", "multiplier": "0.8"}]},
}


class ContractForm(TimedForm):
    """A new contract of an account."""

    name = forms.CharField(
        label="Name",
        max_length=255,
        required=False,
        help_text="What people call it: Enterprise 2026.",
    )
    window_end = UtcDateTimeField(
        label="Ends",
        required=False,
        help_text="Date and time in UTC. Empty means it runs until somebody ends it.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        _name_start(self)

    def values(self) -> dict[str, Any]:
        """Return what the valid form says of the contract."""
        name = self.cleaned_data["name"].strip()
        return {"name": name or None, "window_end": self.cleaned_data["window_end"]}


class TermForm(TimedForm):
    """A version of any term, its value as JSON."""

    kind = forms.ChoiceField(label="About", choices=TermKind.choices)
    term_key = forms.CharField(
        label="Key",
        max_length=128,
        help_text="Of a price: the meter's code. Of a parameter: its name.",
    )
    value_json = JsonField(
        label="Value",
        help_text="JSON. A price as described in the documentation of contracts.",
        initial=_EXAMPLE,
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        _name_start(self)

    def term(self) -> dict[str, Any]:
        """Return kind, key and value of the valid form."""
        answers = self.cleaned_data
        return {
            "kind": answers["kind"],
            "term_key": answers["term_key"],
            "value": answers["value_json"],
        }

    def perform(self, *, at: datetime, by: AuditContext) -> ContractTerm:
        """Add the version. Refuses (`Conflict`) one that is there already."""
        contract: BillingContract = self.subject
        term, created = add_contract_term(
            contract=contract, effective_at=by.effective_at, at=at, by=by, **self.term()
        )
        if not created:
            raise Conflict("The contract has exactly this term already.")
        return term


class PriceForm(TermForm):
    """A version of a meter's price, asked in words instead of JSON."""

    meter = forms.ModelChoiceField(Meter.objects.none(), label="Meter")
    how = forms.ChoiceField(
        label="What customers pay",
        choices=[
            ("multiplier", "The catalog's price, multiplied"),
            ("fixed", "A price of its own"),
            ("catalog", "The catalog's price again"),
        ],
    )
    multiplier = forms.CharField(
        label="Multiplied by",
        required=False,
        max_length=40,
        help_text="0.8 is 20 % off; a fraction such as 2/3 is exact.",
    )
    price_xusd = forms.IntegerField(
        label="Price (XUSD)",
        required=False,
        min_value=0,
        max_value=INT64_MAX,
        help_text="In millionths of a US dollar: 2000000 is $2.00.",
    )
    quantity_minor = forms.IntegerField(
        label="For this many of the smallest unit",
        required=False,
        min_value=1,
        max_value=INT64_MAX,
    )

    field_order = ("meter", "how", "multiplier", "price_xusd", "quantity_minor")
    kind = term_key = value_json = None  # type: ignore[assignment]
    shown_by = {
        "term_key": "meter",
        "value_json.price.adjustments.0.multiplier": "multiplier",
    }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        meters = Meter.objects.in_realm(self.subject.realm_id).order_by("meter_code")
        self.fields["meter"].queryset = meters  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Refuse a choice without the answers that it needs."""
        answers: dict[str, Any] = super().clean() or self.cleaned_data
        needed = {
            "multiplier": ["multiplier"],
            "fixed": ["price_xusd", "quantity_minor"],
        }
        for name in needed.get(answers.get("how", ""), ()):
            if name not in self.errors and answers.get(name) in {None, ""}:
                self.add_error(name, "Say this for what you chose above.")
        return answers

    def term(self) -> dict[str, Any]:
        """Return kind, key and value of the valid form."""
        answers = self.cleaned_data
        steps: dict[str, list[dict[str, str]]] = {
            "multiplier": [{"op": "multiplier", "multiplier": answers["multiplier"]}],
            "fixed": [
                {
                    "op": "fixed",
                    "numerator_xusd": str(answers["price_xusd"]),
                    "denominator_minor": str(answers["quantity_minor"]),
                }
            ],
            "catalog": [],
        }
        code = answers["meter"].meter_code
        value: dict[str, Any] = {"schema": SCHEMA_V2, "meter_code": code}
        value["price"] = {"adjustments": steps[answers["how"]]}
        return {"kind": TermKind.PRICING, "term_key": code, "value": value}


def _name_start(form: CommandForm) -> None:
    form.fields["effective_at"].label = "Starts"
    form.fields["effective_at"].help_text = (
        "Date and time in UTC; may lie in the past or future. Empty means now. What "
        "was rated before stays as it was rated."
    )


def term_preview(form: TermForm, *, at: datetime, by: AuditContext) -> Preview:
    """Return what the term says and changes: perform it, to be rolled back."""
    term = form.perform(at=at, by=by)
    if term.kind != TermKind.PRICING:
        rows: list[tuple[str, ...]] = [(term.term_key, str(term.value_json))]
        return [Table(title="Parameter", headers=("Key", "Value"), rows=rows)]
    says = [(pricing_text(term.value_json, term.term_key),)]
    return [
        Table(title="What it says", headers=("Term",), rows=says),
        _rates_table(term, at=at),
    ]


def _rates_table(term: ContractTerm, *, at: datetime) -> Table:
    meter = Meter.objects.get(realm=term.realm_id, meter_code=term.term_key)
    price = price_in_force(meter, at=at)
    rows: list[tuple[str, ...]] = []
    empty = "The meter has no price now, so the term has no effect until it has one."
    if price is not None:
        blocks = meter.metadata.get("residual_mode") is not None
        catalog = Rates(
            Rate(price.unit_price_xusd, price.unit_quantity_minor, blocks),
            Rate(price.unit_cost_xusd, price.cost_unit_quantity_minor, blocks),
        )
        try:
            found = adjusted(read_pricing(term.value_json, term.term_key), catalog)
        except Invalid as refusal:
            empty = f"It cannot be applied to the present price: {refusal.message}"
        else:
            rows = [
                (
                    "Customers pay",
                    _text(catalog.price, meter),
                    _text(found.price, meter),
                ),
                ("Our cost", _text(catalog.cost, meter), _text(found.cost, meter)),
            ]
    headers = ("", "Catalog now", "Under the contract")
    return Table(title="Prices", headers=headers, rows=rows, empty=empty)


def _text(rate: Rate, meter: Meter) -> str:
    return rate_text(rate.amount_xusd, rate.quantity_minor, meter)
