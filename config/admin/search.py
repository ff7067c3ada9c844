"""The search over everything (Ctrl + K): a few rows of every list that can be seen."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import DataError, transaction
from django.http import HttpRequest
from django.utils.text import capfirst
from unfold.dataclasses import SearchResult

from config.admin.navigation import navigation

PER_LIST = 6
SHORTEST = 2


def find(request: HttpRequest, term: str) -> list[SearchResult]:
    """Return the pages, then the rows, that match what somebody typed."""
    term = term.strip().replace("\0", "")
    if len(term) < SHORTEST:
        return []
    return [*_pages(request, term.lower()), *_rows(request, term)]


def _pages(request: HttpRequest, term: str) -> list[SearchResult]:
    return [
        SearchResult(
            item["title"], group["title"] or "Page", item["link"], item["icon"]
        )
        for group in navigation(request)
        for item in group["items"]
        if term in item["title"].lower()
    ]


def _rows(request: HttpRequest, term: str) -> list[SearchResult]:
    found: list[SearchResult] = []
    for screen in admin.site._registry.values():
        if getattr(screen, "searched", False) and screen.get_search_fields(request):
            found.extend(_rows_of(screen, request, term))
    return found


def _rows_of(screen: Any, request: HttpRequest, term: str) -> list[SearchResult]:
    if not screen.has_view_permission(request):
        return []
    related = screen.get_list_select_related(request)
    rows = screen.get_queryset(request)
    if related:
        rows = rows.select_related(*(() if related is True else related))
    try:
        # A term that one list cannot look for must not spoil the others.
        with transaction.atomic():
            rows, twice = screen.get_search_results(request, rows, term)
            if twice:
                rows = rows.distinct()
            listed = list(rows[:PER_LIST])
    except (DataError, ValidationError, ValueError):
        return []
    menu = getattr(screen, "menu", None)
    return [
        SearchResult(
            title=str(row),
            description=capfirst(screen.opts.verbose_name),
            link=screen.address_of(row),
            icon=menu.icon if menu else None,
        )
        for row in listed
    ]
