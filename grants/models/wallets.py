from billing.models import BillingUser


class Wallet(BillingUser):
    """A user, looked at for what they have: the wallet's place among the screens.

    Nothing is stored for it: `selectors.wallets` counts it from lots.
    """

    class Meta:
        proxy = True
        verbose_name = "wallet"
