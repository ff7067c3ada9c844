"""What the screens of definitions in a realm have in common, in this app and above."""

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from unfold.admin import TabularInline

from config.admin.bases import DefinitionAdmin
from config.kernel.errors import Conflict, Invalid
from config.tenancy.models import Realm


class RealmDefinitionAdmin(DefinitionAdmin):
    """A definition that belongs to a realm: the only realm there is comes chosen.

    Attributes:
        folded_group: the title of the group of metadata, folded while there is none.

    """

    folded_group: ClassVar[str] = ""

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return what a new definition's form starts with."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        realms = list(Realm.objects.values_list("pk", flat=True)[:2])
        if len(realms) == 1:
            initial.setdefault("realm", realms[0])
        return initial

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the groups, that of the metadata folded while there is none."""
        groups: Any = super().get_fieldsets(request, obj)
        for title, options in groups:
            if title == self.folded_group and not (obj and obj.metadata):
                options["classes"] = ("collapse",)
        return groups


class CodeForm(forms.BaseForm):
    """A form whose code is brought into its one spelling before it is compared.

    Attributes:
        code_name: the field that holds the code.
        normalize: returns the spelling, or refuses (`Invalid`) a bad code.

    """

    code_name: ClassVar[str]
    normalize: ClassVar[Callable[[object, str], str]]

    def _clean_fields(self) -> None:
        super()._clean_fields()  # type: ignore[misc]
        typed = self.cleaned_data.get(self.code_name)
        if typed is None:
            return
        try:
            self.cleaned_data[self.code_name] = type(self).normalize(typed, "The code")
        except Invalid as refusal:
            self.add_error(self.code_name, ValidationError(refusal.message))


class ReadOnlyInline(TabularInline):
    """Rows that belong to the page's row, to look at: buttons change them."""

    extra = 0
    can_delete = False
    show_change_link = False
    hide_title = True
    per_page: Any = 25

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: it would be saved without a reason of its own."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse, for the same reason."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse, for the same reason."""
        return False


def refuse_existing(what: str, *, created: bool) -> None:
    """Refuse (`Conflict`) to overwrite what somebody else created meanwhile."""
    if not created:
        raise Conflict(
            f"{what} was created by somebody else just now. Open it instead."
        )
