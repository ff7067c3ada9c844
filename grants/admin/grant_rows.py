"""What a campaign or plan gives, as rows of its form: a program and dollars each."""

from typing import Any, ClassVar

from django import forms

from grants.admin.money import UsdField
from grants.models import GrantProgram, LotKind

ROW_FIELDS = tuple(
    (f"grant_{number}_program", f"grant_{number}_amount") for number in range(1, 5)
)
"""The rows as a page groups them, side by side."""

ADVANCED = (
    "A JSON object; empty where the rows above say all. More grants than there are "
    "rows, and grants with further keys such as <code>binding_window_end</code>, are "
    "listed here as <code>grants</code>, instead of in rows: "
    "<code>grant_program_code</code>, a program's code, and <code>amount_xusd</code>, "
    "in millionths of a US dollar. Any other key is your own annotation."
)

_KEYS = {"grant_program_code", "amount_xusd"}


def _program() -> forms.ChoiceField:
    return forms.ChoiceField(label="Gives by the program", required=False)


def _amount() -> UsdField:
    return UsdField(label="Amount per period (US dollars)", required=False)


class GrantRowsForm(forms.Form):
    """Rows for the `grants` of a metadata form's document; stands before that form.

    Grants of which a row does not tell everything, and more of them than there are
    rows, stay in the JSON: they are said there or in rows, never in both.
    """

    metadata_field: ClassVar[str]

    grant_1_program, grant_1_amount = _program(), _amount()
    grant_2_program, grant_2_amount = _program(), _amount()
    grant_3_program, grant_3_amount = _program(), _amount()
    grant_4_program, grant_4_amount = _program(), _amount()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        document: dict[str, Any] = self.initial.get(self.metadata_field) or {}
        rows: Any = document.get("grants")
        if not _fits(rows):
            rows = []
        if rows:
            rest = {name: said for name, said in document.items() if name != "grants"}
            self.initial[self.metadata_field] = rest
        for (program, amount), grant in zip(ROW_FIELDS, rows, strict=False):
            self.initial[program] = grant["grant_program_code"]
            self.initial[amount] = grant["amount_xusd"]
        choices = _choices({grant["grant_program_code"] for grant in rows})
        for program, _amount_name in ROW_FIELDS:
            field = self.fields.get(program)
            if isinstance(field, forms.ChoiceField):
                field.choices = choices

    def clean(self) -> Any:
        """Put the rows into the document. Refuses grants that stand in it as well."""
        rows, document = self._rows(), self.cleaned_data.get(self.metadata_field)
        if rows and self.metadata_field not in self.errors:
            if "grants" in (document or {}):
                self.add_error(
                    self.metadata_field,
                    "Say what it gives in the rows or as `grants` here, not in both.",
                )
            else:
                said = {**(document or {}), "grants": rows}
                self.cleaned_data[self.metadata_field] = said
        return super().clean()

    def _rows(self) -> list[dict[str, Any]]:
        """Return the rows as the document has them. Refuses one that is half empty."""
        rows = []
        for names in ROW_FIELDS:
            code, xusd = (self.cleaned_data.get(name) for name in names)
            if code and xusd is not None:
                rows.append({"grant_program_code": code, "amount_xusd": xusd})
            elif code and names[1] not in self.errors:
                self.add_error(names[1], "Say how much the program gives.")
            elif xusd is not None and names[0] not in self.errors:
                self.add_error(names[0], "Choose the program that gives it.")
        return rows


def _fits(grants: Any) -> bool:
    """Return whether rows can hold stored grants without loss."""
    return (
        isinstance(grants, list)
        and len(grants) <= len(ROW_FIELDS)
        and all(
            isinstance(grant, dict)
            and set(grant) == _KEYS
            and isinstance(grant["grant_program_code"], str)
            and type(grant["amount_xusd"]) is int
            and grant["amount_xusd"] > 0
            for grant in grants
        )
    )


def _choices(stored: set[str]) -> list[tuple[str, str]]:
    """Return the programs to choose from: the active ones, and what is said already."""
    programs = GrantProgram.objects.filter(active=True).exclude(
        grant_kind=LotKind.FALLBACK
    )
    named = dict(programs.order_by("program_code").values_list("program_code", "name"))
    named = {code: f"{name} ({code})" for code, name in named.items()}
    return [("", "Choose…"), *({code: code for code in stored} | named).items()]
