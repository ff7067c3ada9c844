"""Named buttons: a button, a form with a reason, one verb, a sentence.

    class AssignmentAdmin(RecordAdmin):
        @command("End", form=EndForm, permission="billing.assign_plan")
        def end(self, request, assignment, form, *, at, by):
            end_assignment(assignment=assignment, at=at, by=by, ...)
            return "The assignment ends on 31 January."

The verb runs in a transaction. What it refuses is shown on the form, beside the field
it is about; only a verb that returned is followed by a success message.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.crypto import get_random_string, salted_hmac
from django.utils.safestring import SafeString
from unfold.enums import ActionVariant

from config.admin.forms import CommandForm
from config.admin.once import claim_once, note_sent
from config.admin.refusals import attempt
from config.admin.rights import MissingRight
from config.admin.untyped import GroupedForm
from config.admin.widgets import dress
from config.kernel.clock import now

CONFIRM = "_confirm"
ONCE = "_once"


@dataclass(frozen=True, slots=True)
class Table:
    """One part of a preview: what a change would bring about.

    `rows` hold texts or safe HTML, one per header; `empty` is the sentence shown in
    place of no rows.
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    empty: str = "Nothing changes."

    @property
    def lines(self) -> list[list[tuple[str, Any]]]:
        """Return the rows, each cell with its header, for screens without columns."""
        return [list(zip(self.headers, row, strict=True)) for row in self.rows]


Preview = Sequence[Table | SafeString]


@dataclass(frozen=True, slots=True)
class Done:
    """What a command did: the sentence to show, and the address to go to."""

    message: str
    goto: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """The declaration of a command; see `command`."""

    label: str
    permission: str
    form: type[CommandForm] = CommandForm
    icon: str | None = None
    variant: ActionVariant = ActionVariant.DEFAULT
    description: str = ""
    on_list: bool = False
    available: Callable[[Any], bool] | None = None
    preview: Callable[..., Preview] | None = None


def command(
    label: str, *, permission: str, **declared: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a method of an admin as a button.

    Args:
        label: the button's text, a verb: "End".
        permission: who sees and may press it, such as `billing.assign_plan`.
        **declared: `form` (a `CommandForm`), `icon` (a Material symbol), `variant`
            (`ActionVariant.DANGER` for what cannot be undone), `description` (a
            sentence at the top of the form), `on_list` (a button above the list, for
            no row in particular), `available` (whether the row's state allows it),
            `preview` (a method, called like this one inside a transaction that is
            rolled back; what it returns is shown and must be confirmed).

    The method is called as `(request, subject, form, *, at, by)` with the valid form,
    and returns None, the success sentence, a `Done`, or a response.

    """
    spec = Command(label, permission, **declared)

    def declare(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def view(admin: Any, request: Any, object_id: str | None = None) -> Any:
            return Pressed(admin, request, spec, method, object_id).respond()

        # What the theme reads to draw the button and route its address; not its
        # `allowed_permissions`, which a check looks up in the database.
        view.command = spec  # type: ignore[attr-defined]
        view.short_description = label  # type: ignore[attr-defined]
        view.url_path = f"do/{method.__name__.replace('_', '-')}"  # type: ignore[attr-defined]
        view.icon = spec.icon  # type: ignore[attr-defined]
        view.variant = spec.variant  # type: ignore[attr-defined]
        view.attrs = {}  # type: ignore[attr-defined]
        return view

    return declare


class Pressed:
    """One press of a command's button: the request, from form to answer."""

    def __init__(
        self,
        admin: Any,
        request: Any,
        spec: Command,
        method: Callable[..., Any],
        object_id: str | None,
    ) -> None:
        self.admin, self.request, self.spec = admin, request, spec
        self.method, self.object_id = method, object_id
        self.subject: Any = None
        self.at = now()

    @property
    def previews(self) -> bool:
        """Return whether what would happen is shown, and confirmed, first."""
        return self.spec.preview is not None

    def respond(self) -> HttpResponseBase:
        """Return the form page, or what follows the verb."""
        if not self.request.user.has_perm(self.spec.permission):
            raise MissingRight(self.spec.permission)
        if not self.spec.on_list:
            away = self._find_subject()
            if away is not None:
                return away
        posted = self.request.method == "POST"
        form = self.spec.form(
            *((self.request.POST, self.request.FILES) if posted else ()),
            subject=self.subject,
            at=self.at,
        )
        preview: Preview | None = None
        if posted and form.is_valid():
            if self.spec.preview is None or self._is_confirmed():
                outcome = self._perform(form)
                if outcome is not None:
                    return outcome
            else:
                preview = self._preview(form)
        return self._page(form, preview)

    def _find_subject(self) -> HttpResponse | None:
        admin, request = self.admin, self.request
        self.subject = admin.get_object(request, unquote(self.object_id or ""))
        if self.subject is None:
            gone: HttpResponse = admin._get_obj_does_not_exist_redirect(
                request, admin.opts, self.object_id
            )
            return gone
        if not admin.has_view_permission(request, self.subject):
            raise PermissionDenied
        if self.spec.available is None or self.spec.available(self.subject):
            return None
        messages.error(
            request, f"“{self.spec.label}” is not possible for {self.subject} now."
        )
        return HttpResponseRedirect(self._home())

    def _perform(self, form: CommandForm) -> HttpResponseBase | None:
        result = attempt(form, lambda: self._call_once(form))
        if form.errors:
            return None
        note_sent(self.request, self.request.POST.get(ONCE))
        if isinstance(result, HttpResponseBase):
            return result
        for sentence in _near_misses(form):
            messages.warning(self.request, sentence)
        done = result if isinstance(result, Done) else Done(result or "")
        messages.success(self.request, done.message or f"{self.spec.label}: done.")
        return HttpResponseRedirect(done.goto or self._home())

    def _preview(self, form: CommandForm) -> Preview | None:
        shown = attempt(form, lambda: self._call(self.spec.preview, form), keep=False)
        return None if form.errors else shown

    def _call_once(self, form: CommandForm) -> Any:
        # In the verb's transaction: a second click waits here until the first ended.
        claim_once(self.request, self.request.POST.get(ONCE), at=self.at)
        return self._call(self.method, form)

    def _call(self, method: Callable[..., Any] | None, form: CommandForm) -> Any:
        assert method is not None  # noqa: S101 - narrows the optional preview.
        by = form.audit(self.request)
        return method(self.admin, self.request, self.subject, form, at=self.at, by=by)

    def _is_confirmed(self) -> bool:
        return bool(self.request.POST.get(CONFIRM) == self._digest())

    def _digest(self) -> str:
        """Return a mark of what was shown: to whom, of what, by which answers."""
        answers = sorted(
            (name, values)
            for name, values in self.request.POST.lists()
            if name not in {CONFIRM, ONCE, "csrfmiddlewaretoken"}
        )
        shown = (self.request.user.pk, self.request.path, answers)
        return salted_hmac("plangate.preview", repr(shown)).hexdigest()

    def _home(self) -> str:
        home: str = self.admin.address_of(self.subject)
        return home

    def _page(self, form: CommandForm, preview: Preview | None) -> TemplateResponse:
        admin, request = self.admin, self.request
        request.current_app = admin.admin_site.name
        # A form may have added fields to itself after it was dressed.
        dress(form)
        grouped = GroupedForm(form, form.grouped(), {}, model_admin=admin)
        return TemplateResponse(
            request,
            "admin/plangate/command.html",
            {
                **admin.admin_site.each_context(request),
                "title": self.spec.label,
                "opts": admin.opts,
                "original": self.subject,
                "command": self.spec,
                "danger": self.spec.variant is ActionVariant.DANGER,
                "adminform": grouped,
                "media": admin.media + grouped.media,
                "preview": preview,
                "previews": self.previews,
                "near_misses": _near_misses(form),
                "confirm": self._digest() if preview is not None else "",
                "once": request.POST.get(ONCE) or get_random_string(20),
                "back": self._home(),
            },
        )


def _near_misses(form: CommandForm) -> Sequence[str]:
    """Return a sentence per key of a form's metadata that looks mistyped."""
    found: Sequence[str] = getattr(form, "near_misses", ())
    return found
