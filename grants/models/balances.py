from django.db import models
from django.db.models.functions import Now

from billing.models import BillingAccount, BillingUser
from config.tenancy.models import Realm, RealmQuerySet


class CreditBalance(models.Model):
    """What one user was given, has spent and holds in reserve (units: 10^-6 USD).

    The row that every reservation of the user changes. So it is narrow, it is keyed
    by the user itself, and no index covers what changes. Its entries prove `granted`
    and `spent` (`grants.selectors.balances.proof`).
    """

    user = models.OneToOneField(
        BillingUser, models.PROTECT, primary_key=True, related_name="credit_balance"
    )
    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    account = models.ForeignKey(
        BillingAccount, models.PROTECT, related_name="+", db_index=False
    )
    granted_xusd = models.BigIntegerField(default=0)
    spent_xusd = models.BigIntegerField(default=0)
    reserved_xusd = models.BigIntegerField(default=0)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "credit_balances"
        verbose_name = "balance"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "account", "user"],
                name="credit_balance_once_per_user",
                violation_error_message="This user already has a balance.",
            ),
            models.CheckConstraint(
                name="credit_balance_amounts_are_not_negative",
                condition=models.Q(
                    granted_xusd__gte=0, spent_xusd__gte=0, reserved_xusd__gte=0
                ),
                violation_error_message="The amounts of a balance are 0 or more.",
            ),
            models.CheckConstraint(
                # A difference, because a sum of two large amounts would overflow.
                name="credit_balance_is_never_overdrawn",
                condition=models.Q(
                    spent_xusd__lte=models.F("granted_xusd") - models.F("reserved_xusd")
                ),
                violation_error_message=(
                    "A balance cannot spend and reserve more than was granted."
                ),
                violation_error_code="FUNDING.EXHAUSTED",
            ),
        ]

    def __str__(self) -> str:
        return f"Balance of {self.user} in {self.account}"

    @property
    def available_xusd(self) -> int:
        """Return what may still be reserved or spent (10^-6 USD), 0 or more."""
        return self.granted_xusd - self.spent_xusd - self.reserved_xusd
