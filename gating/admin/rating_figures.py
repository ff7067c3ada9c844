"""The figures of a rating: what was used, what it costs, what of it was applied."""

from typing import Any

from unfold.decorators import display

from catalog.admin.words import money, unbroken, units
from config.admin.bases import NOTHING, RecordAdmin
from config.kernel.money import format_xusd
from gating.admin.words import reasons_text
from gating.models import ApplicationStatus, Rating

STATUS_COLORS = {
    ApplicationStatus.APPLIED.label: "success",
    ApplicationStatus.CLIPPED.label: "warning",
    ApplicationStatus.QUARANTINED.label: "danger",
}


class RatingFigures(RecordAdmin):
    """The columns of quantities and amounts."""

    @display(description="Quantity", ordering="canonical_quantity_minor")
    def quantity(self, rating: Rating) -> Any:
        """Return the quantity that was reported."""
        return unbroken(units(rating.canonical_quantity_minor, _unit(rating)))

    @display(description="Price", ordering="canonical_amount_xusd")
    def amount(self, rating: Rating) -> Any:
        """Return what it costs the customer."""
        return money(rating.canonical_amount_xusd)

    @display(description="Our cost", ordering="canonical_cost_xusd")
    def cost(self, rating: Rating) -> Any:
        """Return what it costs us."""
        return money(rating.canonical_cost_xusd)

    @display(description="Applied", label=STATUS_COLORS, ordering="application_status")
    def applied_label(self, rating: Rating) -> str:
        """Return how much of it was applied."""
        return str(rating.get_application_status_display())

    @display(description="Because")
    def reasons(self, rating: Rating) -> str:
        """Return why not all of it was applied."""
        return reasons_text(rating.reason_codes) or NOTHING

    @display(description="Quantity applied")
    def applied_quantity(self, rating: Rating) -> str:
        """Return the quantity that counted against quotas."""
        return units(rating.applied_quantity_minor, _unit(rating))

    @display(description="Price applied")
    def applied_amount(self, rating: Rating) -> Any:
        """Return the amount that counts."""
        return money(rating.applied_amount_xusd)

    @display(description="Our cost applied")
    def applied_cost(self, rating: Rating) -> Any:
        """Return our cost of what was applied."""
        return money(rating.applied_cost_xusd)

    @display(description="Paid by the balance", ordering="funded_xusd")
    def paid(self, rating: Rating) -> Any:
        """Return what the user's balance paid."""
        return money(rating.funded_xusd)

    @display(description="Owed")
    def owed(self, rating: Rating) -> str:
        """Return what remains to be paid."""
        return format_xusd(rating.applied_amount_xusd - rating.funded_xusd)


def _unit(rating: Any) -> str:
    """Return the unit of a rating's quantity: its lines', where they agree."""
    found = {line.unit for line in rating.read_lines}
    return found.pop() if len(found) == 1 else "unit"
