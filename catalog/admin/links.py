"""Which meters a feature is counted on: the table, and what its buttons ask."""

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelect2Widget

from catalog.admin.bases import ReadOnlyInline
from catalog.admin.words import cost_text, current_price, linked, price_text
from catalog.models import Feature, FeatureMeter, Meter
from catalog.selectors.meters import current_prices
from config.admin.bases import NOTHING, CommandForm
from config.kernel.clock import now


class FeatureMeterInline(ReadOnlyInline):
    """The meters of a feature, with the prices in force."""

    model = FeatureMeter
    verbose_name_plural = "meters it is counted on"
    fields = ("shown_meter", "role", "unit", "price", "cost", "state")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[FeatureMeter]:
        """Return the links with meters and prices, the primary one first."""
        links: QuerySet[FeatureMeter] = super().get_queryset(request)
        return (
            links.select_related("meter")
            .prefetch_related(current_prices(at=now(), path="meter__prices"))
            .order_by("-is_primary", "meter__meter_code")
        )

    @display(description="Meter")
    def shown_meter(self, link: FeatureMeter) -> Any:
        """Return the meter, as a link."""
        return linked(link.meter)

    @display(description="Role")
    def role(self, link: FeatureMeter) -> str:
        """Return whether the meter is the feature's own."""
        return "The feature's own" if link.is_primary else "Linked"

    @display(description="Unit")
    def unit(self, link: FeatureMeter) -> str:
        """Return what one whole unit is called."""
        return link.meter.unit

    @display(description="Price now")
    def price(self, link: FeatureMeter) -> str:
        """Return the price in force."""
        found = current_price(link.meter)
        return price_text(found, link.meter) if found else "No price"

    @display(description="Our cost now")
    def cost(self, link: FeatureMeter) -> str:
        """Return the provider's cost in force."""
        found = current_price(link.meter)
        return cost_text(found, link.meter) if found else NOTHING

    @display(description="State")
    def state(self, link: FeatureMeter) -> str:
        """Return whether the meter counts."""
        return "Active" if link.meter.active else "Off"


class LinkForm(CommandForm):
    """Which meter to link."""

    # Named as the verb names it, so that its refusals find the field.
    meter_code = forms.ModelChoiceField(
        Meter.objects.none(),
        label="Meter",
        to_field_name="meter_code",
        widget=UnfoldAdminSelect2Widget(),
        help_text="Meters of the feature's realm that it is not counted on yet.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        choice: Any = self.fields["meter_code"]
        choice.queryset = (
            Meter.objects.in_realm(self.subject.realm_id)
            .exclude(links__feature=self.subject)
            .order_by("meter_code")
        )


class UnlinkForm(CommandForm):
    """Which meter to take away."""

    delete_meters = forms.ModelChoiceField(
        Meter.objects.none(),
        label="Meter",
        to_field_name="meter_code",
        widget=UnfoldAdminSelect2Widget(),
        help_text="The feature's own meter stays with it.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        choice: Any = self.fields["delete_meters"]
        choice.queryset = Meter.objects.filter(
            links__feature=self.subject, links__is_primary=False
        ).order_by("meter_code")


def has_linked(feature: Feature) -> bool:
    """Return whether the feature has a meter that can be taken away."""
    return FeatureMeter.objects.filter(feature=feature, is_primary=False).exists()
