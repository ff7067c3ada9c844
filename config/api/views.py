"""Base views: authentication and context, nothing else."""

from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.views import APIView

from config.api.operations import Call
from config.tenancy.authentication import (
    authenticate_from_memory,
    authenticate_service_key,
    authenticate_token,
)
from config.tenancy.callers import Caller


class ServiceKeyAuthentication(BaseAuthentication):
    """Signed service-key requests (`/mgt/v1`)."""

    def authenticate(self, request: Any) -> tuple[Caller, None]:
        """Return the caller. Refuses as `authenticate_service_key` does."""
        return authenticate_service_key(request._request), None


class RememberedServiceKeyAuthentication(BaseAuthentication):
    """Signed requests whose view has the caller's version checked where it acts."""

    def authenticate(self, request: Any) -> tuple[Caller, None]:
        """Return the caller. Refuses as `authenticate_service_key` does."""
        return authenticate_from_memory(request._request), None


class TokenAuthentication(BaseAuthentication):
    """Platform bearer tokens (`/api/v1`)."""

    def authenticate(self, request: Any) -> tuple[Caller, None]:
        """Return the caller. Refuses as `authenticate_token` does."""
        return authenticate_token(request._request), None


class AlwaysJson(BaseContentNegotiation):
    """The service speaks JSON whatever `Accept` says."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        """Return the only parser."""
        return None

    def select_renderer(
        self, request: Any, renderers: Any, format_suffix: str | None = None
    ) -> tuple[Any, str]:
        """Return the only renderer."""
        return renderers[0], "application/json"


class ServiceView(APIView):
    """A view of `/mgt/v1`, realm level."""

    authentication_classes = [ServiceKeyAuthentication]
    permission_classes: Any = ()
    throttle_classes: Any = ()
    parser_classes: Any = ()
    renderer_classes = [JSONRenderer]
    content_negotiation_class = AlwaysJson
    # OPTIONS is no operation of ours.
    metadata_class = None

    def bind(self, call: Call) -> None:
        """Resolve the account and user a call is bound to; none at realm level."""


class TokenView(ServiceView):
    """A view of `/api/v1`: an end user's own data."""

    authentication_classes = [TokenAuthentication]
