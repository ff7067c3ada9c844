"""Metadata as people edit it: a typed field per known key, JSON for the rest.

`metadata_form(Contract)` returns a form base class with those fields. Known keys with
structure (grants, seat limits) and all unknown keys stay in the JSON field, so that
nothing in a document is out of reach, and nothing in it is lost by saving.
"""

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms

from config.admin.fields import JsonField
from config.admin.refusals import METADATA_SEPARATOR, add_refusal
from config.kernel.errors import Invalid
from config.kernel.metadata import Contract, KnownKey, check_metadata, describe

_STRUCTURED = frozenset({"list", "object", "seat_limit"})
_YES_NO = (("", "Not set"), ("true", "Yes"), ("false", "No"))
_PLACEHOLDERS = {"instant": "2026-01-31T00:00:00Z"}
_UNITS = {"xusd": " In XUSD: millionths of a US dollar.", "instant": " In UTC."}
_SHARED_NAMES = frozenset({"kind"})
_ABSENT = object()
_MAX_LINE = 1024


class MetadataForm(forms.BaseForm):
    """What `metadata_form` adds to a form; list the known fields with `known_fields`.

    After validation, `cleaned_data[metadata_field]` is the whole document again, and
    `near_misses` holds a sentence per unknown key that looks like a known one, and
    per value that `doubts` finds.
    """

    metadata_field: ClassVar[str] = "metadata"
    metadata_contract: ClassVar[type[Contract]] = Contract
    near_misses: tuple[str, ...] = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stored = self._stored_document()
        rest = copy.deepcopy(self._stored)
        for known in simple_keys(self.metadata_contract):
            name = field_name(known, self.metadata_field)
            raw = _get(rest, known.path)
            if name in self.fields and _is_shown(known, raw):
                _take(rest, known.path)
                self.initial[name] = _as_text(raw)
        self.initial[self.metadata_field] = rest

    def _stored_document(self) -> dict[str, Any]:
        instance = getattr(self, "instance", None)
        stored = (
            self.initial.get(self.metadata_field)
            if instance is None
            else getattr(instance, self.metadata_field)
        )
        return stored if isinstance(stored, dict) else {}

    def clean(self) -> dict[str, Any]:
        """Put the document together and check it against its contract."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        field = self.metadata_field
        rest = cleaned.get(field)
        if field in self.errors or field not in self.fields:
            return cleaned
        document = copy.deepcopy(rest) if isinstance(rest, dict) else rest or {}
        for known in simple_keys(self.metadata_contract):
            self._put_back(document, known, cleaned)
        if field in self.errors:
            return cleaned
        try:
            checked = check_metadata(self.metadata_contract, document, field)
        except Invalid as refusal:
            add_refusal(self, refusal)
            return cleaned
        misses = (
            f"`{miss.key}` is not a key the system reads. Did you mean "
            f"`{miss.did_you_mean}`?"
            for miss in checked.warnings
        )
        self.near_misses = (*misses, *self.doubts(document))
        cleaned[field] = document
        return cleaned

    def doubts(self, document: dict[str, Any]) -> Sequence[str]:
        """Return a sentence per valid value of the document that looks like a slip."""
        return ()

    def _put_back(
        self, document: Any, known: KnownKey, cleaned: dict[str, Any]
    ) -> None:
        name = field_name(known, self.metadata_field)
        value = cleaned.get(name, "")
        if value in ("", None) or not isinstance(document, dict):
            return
        if _get(document, known.path) is not _ABSENT:
            self.add_error(
                self.metadata_field,
                f"`{known.path}` has a field of its own above: set it there only.",
            )
        elif not _put(document, known.path, self._value(known, name, value)):
            self.add_error(
                self.metadata_field,
                f"`{known.path}` is set above, so its parents must be objects here.",
            )

    def _value(self, known: KnownKey, name: str, value: Any) -> Any:
        """Return the JSON value; one that was not touched exactly as it was stored."""
        stored = _get(self._stored, known.path)
        if stored is not _ABSENT and _as_text(stored) == str(value):
            return stored
        if known.type_name == "boolean":
            return value == "true"
        if known.type_name == "integer":
            return int(value)
        return value


def metadata_form(
    contract: type[Contract],
    *,
    field: str = "metadata",
    base: type[forms.BaseForm] = forms.ModelForm,
) -> Any:
    """Return a form class to inherit from, with a field per known key of `contract`.

    `field` is the JSON field of the model or form; `base` is the form class to build
    on. The fields are called as `known_fields` lists them.
    """
    declared: dict[str, Any] = {
        field_name(known, field): _form_field(known) for known in simple_keys(contract)
    }
    declared[field] = JsonField(
        label="Other keys",
        required=False,
        help_text=_help_of_rest(contract),
    )
    name = f"{contract.__name__}Form"
    metaclass: Any = type(base)
    return metaclass(
        name,
        (MetadataForm, base),
        {
            "metadata_field": field,
            "metadata_contract": contract,
            "__module__": __name__,
            **declared,
        },
    )


def known_fields(contract: type[Contract], field: str = "metadata") -> tuple[str, ...]:
    """Return the names of the form fields, the JSON field last."""
    return (*(field_name(known, field) for known in simple_keys(contract)), field)


def simple_keys(contract: type[Contract]) -> tuple[KnownKey, ...]:
    """Return the known keys that one box can hold."""
    keys = describe(contract)
    structured = tuple(
        key.path.removesuffix("[]") for key in keys if key.type_name in _STRUCTURED
    )
    return tuple(
        key
        for key in keys
        if key.type_name not in _STRUCTURED
        and not key.path.startswith(
            tuple(f"{path}{end}" for path in structured for end in ".[")
        )
    )


def field_name(known: KnownKey, field: str = "metadata") -> str:
    """Return the form field's name: `metadata__billing_defaults__period__cadence`."""
    return METADATA_SEPARATOR.join((field, *known.path.split(".")))


def _form_field(known: KnownKey) -> forms.Field:
    common: dict[str, Any] = {
        "label": _label(known),
        "required": False,
        "help_text": f"{known.help}{_UNITS.get(known.type_name, '')}"
        f" <code>{known.path}</code>",
    }
    if known.type_name == "boolean":
        return forms.ChoiceField(choices=_YES_NO, **common)
    if known.type_name == "choice":
        choices = [(choice, _words(choice)) for choice in known.choices]
        return forms.ChoiceField(choices=[("", "Not set"), *choices], **common)
    if known.type_name == "integer":
        return forms.IntegerField(**common)
    placeholder = _PLACEHOLDERS.get(known.type_name, "")
    return forms.CharField(
        strip=known.type_name != "text",
        widget=forms.TextInput({"placeholder": placeholder} if placeholder else {}),
        **common,
    )


def _label(known: KnownKey) -> str:
    *parents, last = known.path.split(".")
    words = _words(last)
    # What other fields of the page are called as well says whose it is.
    if parents == ["params"] or (parents and last in _SHARED_NAMES):
        return f"{words} ({_words(parents[-1]).lower()})"
    return words


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _help_of_rest(contract: type[Contract]) -> str:
    structured = [
        key.path
        for key in describe(contract)
        if key.type_name in _STRUCTURED and "." not in key.path
    ]
    read = (
        f"The system reads {', '.join(f'<code>{path}</code>' for path in structured)} "
        "here; any other key is"
        if structured
        else "Any key here is"
    )
    return f"{read} your own annotation, kept and never read. A JSON object."


def _is_shown(known: KnownKey, raw: Any) -> bool:
    """Return whether the key's own box can hold the stored value without loss."""
    if known.type_name == "boolean":
        return isinstance(raw, bool)
    if known.type_name == "integer":
        return type(raw) is int
    if known.type_name == "choice":
        return raw in known.choices
    is_number = known.type_name == "xusd" and type(raw) is int
    return is_number or (
        isinstance(raw, str)
        and raw != ""
        and raw.isprintable()
        and len(raw) <= _MAX_LINE
        and (known.type_name == "text" or raw == raw.strip())
    )


def _as_text(raw: Any) -> str:
    return {True: "true", False: "false"}[raw] if isinstance(raw, bool) else str(raw)


def _get(document: Any, path: str) -> Any:
    for step in path.split("."):
        if not isinstance(document, dict) or step not in document:
            return _ABSENT
        document = document[step]
    return document


def _take(document: dict[str, Any], path: str) -> None:
    """Remove the key, and the parents that this leaves empty."""
    step, _, below = path.partition(".")
    if not below:
        del document[step]
        return
    _take(document[step], below)
    if not document[step]:
        del document[step]


def _put(document: dict[str, Any], path: str, value: Any) -> bool:
    *parents, last = path.split(".")
    for step in parents:
        child = document.setdefault(step, {})
        if not isinstance(child, dict):
            return False
        document = child
    document[last] = value
    return True
