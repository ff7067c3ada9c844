"""Parts of a screen that apps above its own add to it.

    @extend(Plan)
    class PlanGrants(DefinitionAdmin):
        fieldsets = (("Grants", {"fields": ("gives",)}),)
        readonly_fields = ("gives",)

The screen is the same as before, with what the part adds: its groups, fields, inlines,
buttons, form, and whatever method of a screen it overrides. Several apps may each add
one, without knowing of each other.
"""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db import models

from config.admin.screens import PlangateAdmin

_ADDED = ("fieldsets", "readonly_fields", "inlines")


def extend(
    model: type[models.Model],
) -> Callable[[type[PlangateAdmin]], type[PlangateAdmin]]:
    """Add the decorated part to the registered screen of a model.

    For `admin` modules. The part is a screen that is not registered itself; its `form`
    is one on the screen's own. Refuses (`NotRegistered`) a model without a screen.
    """

    def add(part: type[PlangateAdmin]) -> type[PlangateAdmin]:
        screen: Any = type(admin.site.get_model_admin(model))
        own = vars(part)
        made: dict[str, Any] = {
            name: (*getattr(screen, name), *own[name]) for name in _ADDED if name in own
        }
        if "form" in own:
            form = screen.form
            made["form"] = type(form)(form.__name__, (part.form, form), {})
        admin.site.unregister(model)
        admin.site.register(model, type(screen)(screen.__name__, (part, screen), made))
        return part

    return add
