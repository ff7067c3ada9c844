"""The database goes away and comes back; the server says so, and goes on.

A real server, and a real database of its own that is stopped and killed.
"""

import base64
import http.cookiejar
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from tests.config.test_database import STOP, Installation, _fast_folder
from tests.tools.server import running_server
from tests.tools.signer import RawClient

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 6
"""Within which every answer must be there, whatever is wrong."""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/cwd").exists(), reason="needs Linux's list of processes"
)


def manage(installation, *arguments, **environment):
    """Run a management command of the installation; return what it printed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=REPOSITORY, env=installation.env | environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


PASSWORD = "a long enough password"
PREPARE = f"""
import json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
from config import database
database.ensure_running()
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
call_command("migrate", verbosity=0)
User.objects.create_superuser("ada", "ada@example.com", {PASSWORD!r})
call_command("create_service_key", realm="acme", create_realm=True, json=True, stdout=sys.stdout)
"""


@pytest.fixture(scope="module")
def installation():
    """A database of one's own, migrated, with a realm, a key and somebody on the staff."""
    folder = Path(tempfile.mkdtemp(prefix="plangate-down-", dir=_fast_folder()))
    folder.chmod(0o755)
    found = Installation(folder)
    try:
        found.key = json.loads(found.python(PREPARE).splitlines()[-1])
        yield found
    finally:
        found.python(STOP)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(installation):
    """The base URL of a server on that database; one process from first to last test."""
    with running_server(
        installation.url("app"), PLANGATE_DATA_DIR=str(installation.data_dir)
    ) as base:
        yield base


class Api:
    """Signs and sends, as an integrator's backend does."""

    def __init__(self, base, key, **bindings):
        realm = SimpleNamespace(pk=key["realm_id"])
        named = SimpleNamespace(key_id=key["key_id"])
        self.base = base
        self.raw = RawClient(realm, named, base64.b64decode(key["secret"]), **bindings)

    def call(self, method, path, document=None, key=None):
        """Return status, document, headers and seconds of a call."""
        body = b"" if document is None else json.dumps(document).encode()
        headers = self.raw.signed(method, path, body, key)
        return fetch(self.base + path, method=method, body=body, headers=headers)


def fetch(url, *, method="GET", body=b"", headers=None, opener=None):
    """Return status, text, headers and seconds of a request."""
    request = urllib.request.Request(
        url, data=body or None, headers=headers or {}, method=method
    )
    began = time.perf_counter()
    try:
        response = (opener or urllib.request.build_opener()).open(request, timeout=30)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        text = response.read().decode()
    return SimpleNamespace(
        status=response.status, text=text, headers=response.headers, seconds=time.perf_counter() - began,
        document=json.loads(text) if text.startswith("{") else None,
    )  # fmt: skip


@pytest.fixture
def api(server, installation):
    return Api(server, installation.key)


@pytest.fixture(scope="module")
def staff(server):
    """A browser that is signed in."""
    opener = urllib.request.build_opener(
        urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    )
    page = opener.open(f"{server}/admin/login/").read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
    form = urllib.parse.urlencode(
        {
            "csrfmiddlewaretoken": token,
            "username": "ada",
            "password": PASSWORD,
            "next": "/admin/",
        }
    )
    home = opener.open(
        urllib.request.Request(
            f"{server}/admin/login/", form.encode(), {"Referer": server}
        )
    )
    assert home.url == f"{server}/admin/", home.url
    return opener


def is_down(answer, code="SERVER.DB_UNAVAILABLE"):
    """Check the answer of a call without a database."""
    assert answer.status == 503, answer.text
    assert answer.document["code"] == code
    assert answer.document["ok"] is False
    assert answer.document["message"].endswith(".")
    assert len(answer.document["trace_id"]) == 32
    assert answer.seconds < SECONDS


@contextmanager
def stopped(installation):
    """Stop the database in an orderly way; start it again afterwards."""
    installation.python(STOP)
    try:
        yield
    finally:
        installation.start()


@contextmanager
def killed(installation):
    """Kill the database's main process; start it again afterwards."""
    pid = installation.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    try:
        yield
    finally:
        installation.start()


@pytest.mark.parametrize("away", [stopped, killed])
def test_database_goes_away_and_comes_back(installation, server, api, staff, away):
    meters = "/mgt/v1/meters"
    assert api.call("GET", meters).status == 200
    assert fetch(f"{server}/admin/", opener=staff).status == 200

    with away(installation):
        for _ in range(2):
            is_down(api.call("GET", meters))
            is_down(api.call("POST", meters, {"meter_code": "tokens"}))
            is_down(fetch(f"{server}/health"))
            for path in ("/admin/", "/admin/billing/plan/", "/admin/billing/plan/add/"):
                page = fetch(f"{server}{path}", opener=staff)
                assert (page.status, page.seconds < SECONDS) == (503, True)
                assert page.headers["Retry-After"] == "5"
                assert "database" in page.text
                assert "Traceback" not in page.text

    answer = api.call("GET", meters)
    assert (answer.status, fetch(f"{server}/health").status) == (200, 200)
    assert fetch(f"{server}/admin/", opener=staff).status == 200


def test_sign_in_without_a_database_is_told(installation, server):
    opener = urllib.request.build_opener(
        urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    )
    page = opener.open(f"{server}/admin/login/").read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
    form = urllib.parse.urlencode(
        {"csrfmiddlewaretoken": token, "username": "ada", "password": PASSWORD}
    )

    with stopped(installation):
        answer = fetch(
            f"{server}/admin/login/",
            method="POST",
            body=form.encode(),
            headers={"Referer": server},
            opener=opener,
        )

    assert (answer.status, answer.seconds < SECONDS) == (503, True)
    assert "database" in answer.text


def test_every_process_serves_again(installation, api):
    """Each of the server's processes has connections that died."""
    with killed(installation):
        is_down(api.call("GET", "/mgt/v1/meters"))

    statuses = [api.call("GET", "/mgt/v1/meters").status for _ in range(24)]

    assert statuses == [200] * 24


def test_blocked_write_says_to_come_back(installation, api):
    family = api.call(
        "POST", "/mgt/v1/feature-families", {"feature_family_code": "ai"}
    ).document["data"]["feature_family_id"]
    path = f"/mgt/v1/feature-families/{family}"

    with psycopg.connect(installation.url("owner")) as other:
        other.execute(
            "SELECT 1 FROM feature_families WHERE id = %s FOR UPDATE", [family]
        )
        blocked = api.call("PATCH", path, {"name": "AI"}, key="k")
        reads = api.call("GET", path)
        other.rollback()
    again = api.call("PATCH", path, {"name": "AI"}, key="k")

    assert (blocked.status, blocked.document["code"]) == (503, "SERVER.BUSY")
    assert blocked.headers["Retry-After"] == "1"
    assert 3.5 < blocked.seconds < 5
    assert (reads.status, reads.seconds < 1) == (200, True)
    assert (again.status, again.document["data"]["name"]) == (200, "AI")


def test_key_disabled_is_refused_by_every_process(installation, server):
    made = json.loads(
        manage(installation, "create_service_key", "--realm", "acme", "--json")
    )
    api = Api(server, made)
    before = [api.call("GET", "/mgt/v1/meters").status for _ in range(8)]

    with psycopg.connect(installation.url("owner")) as other:
        other.execute(
            "SELECT set_config('plangate.audit', %s, true)", [json.dumps(EXPLANATION)]
        )
        other.execute(
            "UPDATE service_keys SET status = 'disabled' WHERE key_id = %s",
            [made["key_id"]],
        )
    after = [api.call("GET", "/mgt/v1/meters").status for _ in range(24)]

    assert before == [200] * 8
    assert after == [403] * 24


EXPLANATION = {
    "actor_kind": "user", "actor_id": "ada", "operator": "ada", "reason": "lost", "ticket_id": "T-1", "trace_id": "0" * 32,
    "effective_at": "2026-03-10T12:00:00Z", "history_date": "2026-03-10T12:00:00Z",
}  # fmt: skip

WRITERS = 4


class Writer(threading.Thread):
    """Gives credit until told to stop, each time until it is acknowledged."""

    def __init__(self, number, api, path, stop):
        super().__init__()
        self.number, self.api, self.path, self.stop = number, api, path, stop
        self.acknowledged, self.refused = [], []

    def run(self):
        count = 0
        while not self.stop.is_set():
            count += self.write(f"{self.number}-{count}")

    def write(self, key):
        """Send one write, the same until it is acknowledged; return whether it was."""
        try:
            answer = self.api.call(
                "POST", self.path, {"amount_xusd": "1", "source_ref": key}, key=key
            )
        except OSError:
            return False
        if answer.status < 300:
            self.acknowledged.append(key)
            return True
        self.refused.append(answer.document["code"])
        time.sleep(0.05)
        return False


def test_no_acknowledged_write_is_lost(installation, server, api):
    """Writers that retry with the same key, over two kills of the database."""
    runtime = Api(server, installation.key, principal_id="acme", user_id="u-1")
    issued = runtime.call(
        "POST", "/mgt/v1/token/issue", {"principal_id": "acme", "user_id": "u-1"}
    )
    path = f"/mgt/v1/billing-users/{issued.document['data']['billing_user_id']}/credits"
    stop = threading.Event()
    writers = [Writer(number, api, path, stop) for number in range(WRITERS)]

    for writer in writers:
        writer.start()
    for _ in range(2):
        time.sleep(0.7)
        with killed(installation):
            time.sleep(0.3)
    time.sleep(0.5)
    stop.set()
    for writer in writers:
        writer.join(timeout=30)

    with psycopg.connect(installation.url("owner")) as reader:
        stored = [row for (row,) in reader.execute("SELECT source_ref FROM grant_lots")]
        [(granted,)] = reader.execute(
            "SELECT sum(amount_xusd) FROM grant_lots"
        ).fetchall()
    acknowledged = {key for writer in writers for key in writer.acknowledged}
    refused = [code for writer in writers for code in writer.refused]
    print(
        f"\n2 kills: {len(acknowledged)} acknowledged, {len(refused)} told to come back, {granted} granted"
    )
    assert acknowledged - set(stored) == set()
    assert len(stored) == len(set(stored)) == granted
    assert set(refused) <= {"SERVER.DB_UNAVAILABLE", "SERVER.BUSY"}
    assert refused
    assert len(acknowledged) > 20
