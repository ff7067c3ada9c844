from django.apps import AppConfig


class GrantsConfig(AppConfig):
    """What is given: credit, and what was spent of it."""

    name = "grants"
    verbose_name = "Credit"

    def ready(self) -> None:
        """Let billing states show what a user may spend."""
        from billing.selectors.wallets import register_wallet_reader
        from grants.selectors.wallets import wallet_balance

        register_wallet_reader(wallet_balance)
