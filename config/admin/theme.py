"""How the admin looks: the theme's settings (`UNFOLD` in config.settings)."""

from collections.abc import Callable
from typing import Any


def _static(path: str) -> Callable[[Any], str]:
    def address(_request: Any) -> str:
        # The settings import this module, before Django can be imported in full.
        from django.templatetags.static import static

        return static(path)

    return address


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Plangate",
    "SITE_HEADER": "Plangate",
    "SITE_SUBHEADER": "Who may use what, and why",
    "SITE_SYMBOL": "fence",
    # There is no public site behind the admin to go to.
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": _static("plangate/icon.svg"),
        }
    ],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": False,
    "BORDER_RADIUS": "6px",
    "STYLES": [_static("plangate/admin.css"), _static("plangate/account.css")],
    "DASHBOARD_CALLBACK": "config.admin.dashboard.dashboard",
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "show_all_applications": False,
        "navigation": "config.admin.navigation.navigation",
    },
    "COLORS": {
        "primary": {
            "50": "oklch(97.5% .013 236.6)",
            "100": "oklch(94.6% .025 236.8)",
            "200": "oklch(89.1% .053 230.9)",
            "300": "oklch(81.2% .097 230.3)",
            "400": "oklch(72.3% .135 237.0)",
            "500": "oklch(62.3% .140 243.0)",
            "600": "oklch(53.4% .135 246.0)",
            "700": "oklch(45.6% .120 248.0)",
            "800": "oklch(39.6% .100 249.0)",
            "900": "oklch(34.6% .080 252.0)",
            "950": "oklch(25.6% .062 254.0)",
        },
    },
}
