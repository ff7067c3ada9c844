"""What grants serves under `/api/v1`."""

from django.urls import path

from grants.api.wallet import TokenWallet

urlpatterns = [path("wallet/balance", TokenWallet.as_view())]
