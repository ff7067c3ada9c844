"""The admin as support uses it, in a real headless browser."""

import pytest

from tests.tools.browser import browser, executable
from tests.tools.server import running_server

PASSWORD = "a long enough password"

pytestmark = pytest.mark.browser


@pytest.fixture
def desk(committed_realm, at, by):
    """An account with a starter plan, a pro plan to assign, and a support login."""
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import Group, User

    from billing.services.accounts import ensure_account
    from billing.services.plans import upsert_plan
    from billing.services.users import create_user

    account = ensure_account(
        realm=committed_realm, principal_id=f"aurora {committed_realm.pk}", at=at, by=by
    )
    create_user(account=account, business_user_id="mia", metadata={}, at=at, by=by)
    for code, name, priority in (("starter", "Starter", 10), ("pro", "Pro", 20)):
        upsert_plan(
            realm=committed_realm,
            plan_code=code,
            name=name,
            kind="base",
            priority=priority,
            at=at,
            by=by,
        )
    username = f"support-{committed_realm.pk}"
    member = User.objects.create(
        username=username,
        password=make_password(PASSWORD, hasher="pbkdf2_sha256"),
        is_staff=True,
    )
    member.groups.add(Group.objects.get(name="Support"))
    return account, username


class Desk:
    """One browser tab, and everything it complained about."""

    def __init__(self, chromium, base):
        self.page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        self.base = base
        self.complaints = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)

    def _heard(self, message):
        if message.type == "error":
            self.complaints.append(message.text)

    def _asked(self, request):
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.complaints.append(f"foreign request {request.url}")

    def sign_in(self, username):
        self.page.goto(f"{self.base}/admin/login/")
        self.page.fill("#id_username", username)
        self.page.fill("#id_password", PASSWORD)
        self.page.click("button[type=submit], input[type=submit]")

    def sees(self, text):
        """Wait until a text stands on the page."""
        self.page.get_by_text(text).first.wait_for(timeout=20_000)


def test_support_assigns_pauses_and_reads_history(desk):
    assert executable(), "Chromium is missing: run python -m tests.tools.browser"
    account, username = desk
    with running_server() as base, browser() as chromium:
        tab = Desk(chromium, base)
        page = tab.page
        tab.sign_in(username)
        page.goto(f"{base}/admin/billing/billingaccount/?q={account.realm_id}")
        page.click("#result_list tbody a")
        page.wait_for_selector("text=Default plan")

        page.click("text=Assign plan")
        page.select_option("#id_plan", label="Pro (pro)")
        page.fill("#id_source_ref", "CN-1")
        page.click("#command_form button[type=submit]")
        tab.sees("This field is required.")

        page.fill("#id_reason", "signed the contract")
        page.fill("#id_ticket_id", "SUP-1")
        page.click("#command_form button[type=submit]")
        tab.sees("This is what will happen")
        tab.sees("Nothing is saved yet")

        page.click("#command_form button[type=submit]")
        tab.sees("Pro is assigned to aurora")
        tab.sees("In effect for the whole account")

        page.click("table.plangate-table >> text=Pause")
        page.fill("#id_reason", "invoice disputed")
        page.fill("#id_ticket_id", "FIN-1")
        page.click("#command_form button[type=submit]")
        tab.sees("Pro is paused since")

        page.click("table.plangate-table >> text=Pro")
        page.click("a[href$='/history/']")
        for told in ("signed the contract", "invoice disputed", "SUP-1"):
            tab.sees(told)
        assert tab.complaints == []


@pytest.fixture
def held(desk, by):
    """The desk's account with three holds; the user of one of them has left."""
    from datetime import timedelta

    from billing.services.users import change_user
    from config.kernel.clock import now
    from tests.gating.gate import Gate

    account, username = desk
    gate = Gate(account.realm, account, None, now() - timedelta(hours=3), by)
    gate.feature("chat.completion", price=2_000_000, per=1000, unit="token")
    gate.quota(5000, feature="chat.completion", unit="token", seconds=30 * 86_400)
    mia, noa = gate.of_user("mia"), gate.of_user("noa")
    for each in (mia, noa):
        each.credit(10_000_000)
    leases = [
        mia.row(mia.lease(1200, feature="chat.completion", lease="nightly-77", labels={"app": "reports", "team": "data"})),
        mia.row(mia.later(hours=2).lease(300, feature="chat.completion")),
        noa.row(noa.later(hours=1).lease(50, feature="chat.completion", labels={"app": "web"})),
    ]  # fmt: skip
    change_user(user=noa.user, status="disabled", at=gate.at, by=by)
    return username, leases


def test_support_works_the_hold_desk(held):
    username, (charged, spare, orphan) = held
    with running_server() as base, browser() as chromium:
        tab = Desk(chromium, base)
        page = tab.page
        tab.sign_in(username)
        desk = f"{base}/admin/gating/lease/?realm__realm_id__exact={charged.realm_id}"

        page.goto(f"{desk}&show=orphaned")
        tab.sees("Its user is disabled, so nobody may commit it.")
        page.check(f"input[value='{orphan.pk}']")
        page.select_option("select[name=action]", label="Release selected holds")
        page.click("button[name=index]")
        tab.sees("1 hold chosen")
        page.fill("#id_reason", "mia left the company")
        page.fill("#id_ticket_id", "SUP-1")
        page.click("#command_form button[type=submit]")
        tab.sees("Will be released")
        page.click("#command_form button[type=submit]")
        tab.sees("Release selected holds: done")
        tab.sees("50 tokens")

        page.goto(desk)
        page.click(f"#result_list a[href*='{charged.pk}']")
        tab.sees("app: reports, team: data")
        page.click("text=Commit")
        page.fill("#id_quantity_minor", "900")
        page.fill("#id_reason", "the report was made, its worker crashed")
        page.fill("#id_ticket_id", "SUP-2")
        page.click("#command_form button[type=submit]")
        tab.sees("What becomes of the hold")
        tab.sees("300 tokens")
        page.click("#command_form button[type=submit]")
        tab.sees("is committed: $1.80 charged.")
        tab.sees("Committed for the caller by")

        page.goto(f"{base}/admin/gating/lease/{spare.pk}/change/")
        page.click("text=Release")
        page.fill("#id_reason", "asked to stop")
        page.fill("#id_ticket_id", "SUP-3")
        page.click("#command_form button[type=submit]")
        tab.sees("is released: what it held is free again.")
        assert tab.complaints == []


@pytest.fixture
def purse(desk):
    """The wallet of the desk's user, its member of staff also in the role Finance."""
    from django.contrib.auth.models import Group, User

    from grants.models import Wallet

    account, username = desk
    User.objects.get(username=username).groups.set(
        [Group.objects.get(name="Support"), Group.objects.get(name="Finance")]
    )
    return Wallet.objects.get(account=account), username


def test_finance_credits_takes_back_and_reads_the_running_balance(purse):
    wallet, username = purse
    with running_server() as base, browser() as chromium:
        tab = Desk(chromium, base)
        page = tab.page
        tab.sign_in(username)
        page.goto(f"{base}/admin/grants/wallet/{wallet.pk}/change/")
        tab.sees("“Give a grant” needs the right grants.give_grant (Ops or Approver).")

        page.click("a[href$='/do/credit/']")
        page.fill("#id_amount_xusd", "1,234.50")
        page.fill("#id_source_ref", "INV-1")
        page.fill("#id_reason", "paid by transfer")
        page.fill("#id_ticket_id", "FIN-1")
        page.click("#command_form button[type=submit]")
        tab.sees("Credit, INV-1")
        page.click("#command_form button[type=submit]")
        tab.sees("mia was credited $1,234.50.")

        page.goto(f"{base}/admin/grants/wallet/{wallet.pk}/do/adjust/")
        page.check("input[value=take]")
        page.fill("#id_amount_xusd", "1,234.50")
        page.fill("#id_reference", "FIX-1")
        page.fill("#id_reason", "the transfer was another customer's")
        page.fill("#id_ticket_id", "FIN-2")
        page.click("#command_form button[type=submit]")
        tab.sees("from then on this adjustment cannot be undone")
        page.click("#command_form button[type=submit]")
        tab.sees("The wallet of mia was adjusted by -$1,234.50.")
        tab.sees("$1,234.50, of which $1,234.50 was taken back by adjustment")
        tab.sees("Taken back by adjustment")
        assert tab.complaints == []


def test_reversed_window_is_refused_on_its_field(desk):
    account, username = desk
    with running_server() as base, browser() as chromium:
        tab = Desk(chromium, base)
        tab.sign_in(username)
        page = tab.page
        page.goto(f"{base}/admin/billing/billingaccount/{account.pk}/do/assign/")
        page.select_option("#id_plan", label="Starter (starter)")
        page.fill("#id_effective_at_0", "2026-05-01")
        page.fill("#id_window_end_0", "2026-04-01")
        page.fill("#id_source_ref", "CN-2")
        page.fill("#id_reason", "a slip")
        page.fill("#id_ticket_id", "SUP-2")
        page.click("#command_form button[type=submit]")

        tab.sees("The end must be after the start.")
    assert not account.assignments.filter(source_ref="CN-2").exists()


def test_api_docs_make_no_foreign_request(committed):
    with running_server() as base, browser() as chromium:
        tab = Desk(chromium, base)
        tab.page.goto(f"{base}/docs/")
        tab.page.wait_for_selector(".opblock", timeout=20_000)

        tab.sees("/mgt/v1/gate/authorize")
        assert tab.complaints == []
