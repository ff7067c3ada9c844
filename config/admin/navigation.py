"""The sidebar: what is registered and may be seen, grouped as people think of it."""

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

ACCOUNTS = "Accounts"
CATALOG = "Plans and catalog"
GRANTS = "Grants and money"
GATE = "Gate"
HISTORY = "History"
ACCESS = "Access"
GROUPS = (ACCOUNTS, CATALOG, GRANTS, GATE, HISTORY, ACCESS)
_OTHER = "Other"


@dataclass(frozen=True, slots=True)
class Menu:
    """A model's place in the sidebar.

    Attributes:
        group: one of `GROUPS`.
        icon: the name of a Material symbol.
        order: smaller stands higher in the group.
        label: the item's text; the model's plural name where empty.

    """

    group: str
    icon: str = "table_rows"
    order: int = 100
    label: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of its own in the sidebar.

    `url_name` is reversed without arguments; the item is left out while that fails.
    `permission` is who may see it (`app.codename`); None is every member of staff.
    """

    menu: Menu
    url_name: str
    permission: str | None = None


_pages: list[Page] = []


def add_page(page: Page) -> None:
    """Put a page into the sidebar. Adding it twice has no effect."""
    if page not in _pages:
        _pages.append(page)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar of this member of staff, without empty groups."""
    items = [
        *_home(),
        *_models(request),
        *_own_pages(request),
    ]
    groups = []
    for title in ("", *GROUPS, _OTHER):
        found = sorted(
            (item for group, item in items if group == title),
            key=lambda item: (item["order"], item["title"]),
        )
        if found:
            groups.append({"title": title, "separator": False, "items": found})
    return groups


Item = tuple[str, dict[str, Any]]


def _home() -> list[Item]:
    return [
        _item(Menu("", "space_dashboard", 0, "Overview"), reverse("admin:index")),
    ]


def _models(request: HttpRequest) -> list[Item]:
    found = []
    for model, screen in admin.site._registry.items():
        default = Menu(_OTHER)
        menu: Menu | None = getattr(screen, "menu", default) or None
        if menu is None or not screen.has_view_permission(request):
            continue
        opts = model._meta
        link = _address(f"admin:{opts.app_label}_{opts.model_name}_changelist")
        if link:
            found.append(_item(menu, link, str(opts.verbose_name_plural)))
    return found


def _own_pages(request: HttpRequest) -> list[Item]:
    found = []
    for page in _pages:
        if page.permission and not request.user.has_perm(page.permission):
            continue
        link = _address(page.url_name)
        if link:
            found.append(_item(page.menu, link))
    return found


def _address(url_name: str) -> str | None:
    try:
        return reverse(url_name)
    except NoReverseMatch:
        return None


def _item(menu: Menu, link: str, name: str = "") -> Item:
    label = menu.label or name
    group = menu.group if menu.group in ("", *GROUPS) else _OTHER
    return group, {
        "title": label[:1].upper() + label[1:],
        "icon": menu.icon,
        "link": link,
        "order": menu.order,
    }
