"""The code is built as docs/architecture.md says: read from the code itself."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("config", "catalog", "billing", "grants", "gating", "demo", "bench")
FUNCTION_LINES, VIEW_LINES = 40, 15
MODULE_LINES, HARD_MODULE_LINES = 300, 400

PURE = [
    "billing/policies",
    "config/kernel",
    "gating/decide.py",
    "gating/evidence.py",
    "gating/facts.py",
    "gating/hints.py",
    "gating/lengths.py",
    "gating/pricing",
    "gating/projection.py",
    "gating/sentences.py",
    "gating/settle.py",
    "gating/simulation",
    "gating/verdicts.py",
]
"""What calculates, and imports no Django."""

THE_CLOCK = "config/kernel/clock.py"
EDGE = re.compile(
    r"(^|/)(admin|api|management)/|(^|/)jobs\.py$|^demo/|^bench/|^config/tenancy/(authentication|periodic)\.py$"
)
"""Where time is read: screens, the API, commands and jobs."""
OTHER_CLOCKS = {"config/database/server.py": {"time.time"}}
"""The age of a file of the database server: no business time."""

UNEDITED = {
    "AccountVersion": "a count of changes, which have their history",
    "CatalogVersion": "a count of changes, which have their history",
    "ContractTerm": "append-only",
    "Counter": "counted by the gate; its ratings are the record",
    "CredentialVersion": "a count of changes, which have their history",
    "GrantAllocation": "append-only but for its settlement",
    "LedgerAccount": "the sum of its entries, which are append-only",
    "LedgerEntry": "append-only",
    "LedgerSeal": "append-only",
    "Posting": "append-only",
    "Denial": "written by the gate, with its evidence",
    "DomainEvent": "append-only",
    "GrantEnrollment": "what a job last applied; the bindings have their history",
    "GateState": "a lock, without content",
    "IssuanceCursor": "how far a job has come; the lots are the record",
    "JobRun": "written by the job itself",
    "Lease": "written by the gate; every state has its instant",
    "PlanTemplates": "taken once; a resync is an event, and bindings have their history",
    "PlanAssignmentStatus": "append-only",
    "PlatformToken": "append-only",
    "LeaseEnd": "append-only",
    "Projection": "a cache, resolved again whenever it is stale",
    "RatedRecord": "append-only",
    "Rating": "append-only",
    "RatingKey": "written once, with its rating",
    "ResidualBucket": "a remainder of a division",
    "RuleSet": "append-only",
    "Seat": "taken by first use, never changed",
    "SeatBilling": "how far a job has come; its ratings are the record",
    "ServiceKeyNonce": "kept for ten minutes",
    "StoredAnswer": "kept for a day",
}
"""Models that nobody edits, and so have no history."""


def sources(*packages, migrations=False):
    """Return our Python files below `packages`, as paths from the root."""
    found = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    return sorted(
        path.relative_to(ROOT)
        for path in found
        if migrations or "migrations" not in path.parts
    )


def tree(path):
    return ast.parse((ROOT / path).read_text())


def functions(path):
    return [
        node
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def published():
    """Return every file that is or will be under version control."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\n")
    else:
        hidden = {
            ".venv",
            ".plangate",
            ".git",
            "__pycache__",
            ".hypothesis",
            ".pytest_cache",
            ".ruff_cache",
            ".mypy_cache",
            ".import_linter_cache",
        }
        listed = [
            str(path.relative_to(ROOT))
            for path in ROOT.rglob("*")
            if path.is_file() and not hidden & set(path.parts)
        ]
    return sorted(name for name in listed if name and (ROOT / name).is_file())


def text_of(name):
    """Return a file's text, None where it is no text."""
    try:
        return (ROOT / name).read_text()
    except UnicodeDecodeError:
        return None


# --- who may import whom ------------------------------------------------------


def test_imports_keep_their_contracts():
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    summary = re.search(r"Contracts: (\d+) kept, (\d+) broken", done.stdout)
    print(f"\n{summary and summary[0]}")
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(summary[1]) >= 4


BLOCKED = """
import importlib, sys
for name in ("django", "rest_framework", "psycopg", "procrastinate", "structlog"):
    sys.modules[name] = None
for name in sys.argv[1:]:
    importlib.import_module(name)
print(len(sys.argv) - 1)
"""


def test_calculation_runs_without_django():
    modules = [
        ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for path in pure_sources()
    ]

    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 30


def pure_sources():
    return [
        path
        for path in sources("config", "billing", "gating")
        if str(path).startswith(tuple(PURE))
    ]


def test_every_pure_module_exists():
    assert [place for place in PURE if not (ROOT / place).exists()] == []


FORBIDDEN_BELOW = (
    "django.http",
    "django.forms",
    "django.contrib.admin",
    "django.template",
    "django.urls",
    "django.dispatch",
)


def test_verbs_and_reads_import_no_page():
    found = [
        f"{path}: {name}"
        for path in sources(*PACKAGES)
        if {"models", "selectors", "services"} & set(path.parts)
        for name in imported(path)
        if name.startswith(FORBIDDEN_BELOW)
    ]

    assert found == []


def imported(path):
    """Return what a file imports, with the names taken from it."""
    names = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [
                node.module,
                *(f"{node.module}.{alias.name}" for alias in node.names),
            ]
    return names


# --- one clock ----------------------------------------------------------------


CLOCKS = {
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "timezone.now", "timezone.localtime", "timezone.localdate",
    "time.time", "time.time_ns", "time.localtime", "time.gmtime",
}  # fmt: skip


def clock_reads(path):
    """Return the clocks that a file reads, however it spells the module."""
    calls = [
        ast.unparse(node)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
    ]
    return {
        name
        for call in calls
        for name in CLOCKS
        if call == name or call.endswith(f".{name}")
    }


def test_one_clock():
    found = {str(path): clock_reads(path) for path in sources(*PACKAGES)}

    assert {path: names for path, names in found.items() if names} == {
        THE_CLOCK: {"datetime.now"},
        **OTHER_CLOCKS,
    }


def test_clock_is_read_at_the_edge_only():
    readers = [
        str(path)
        for path in sources(*PACKAGES)
        if "config.kernel.clock" in imported(path)
    ]

    assert [path for path in readers if not EDGE.search(path)] == []
    assert len(readers) >= 10


# --- size ---------------------------------------------------------------------


def test_functions_are_short():
    long = {
        f"{path}:{node.name}": node.end_lineno - node.lineno + 1
        for path in sources(*PACKAGES)
        for node in functions(path)
        if node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    }

    assert long == {}


def test_views_are_short():
    """Parse, one call, render: without its declaration and docstring."""
    counted, long = 0, {}
    for path in sources(*PACKAGES):
        for node in functions(path):
            if not any(
                ast.unparse(decorator).startswith("operation(")
                for decorator in node.decorator_list
            ):
                continue
            counted += 1
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = node.end_lineno - body[0].lineno + 1
            if lines > VIEW_LINES:
                long[f"{path}:{node.name}"] = lines

    assert long == {}
    assert counted >= 60


def test_modules_are_short():
    lines = {
        str(path): len((ROOT / path).read_text().splitlines())
        for path in sources(*PACKAGES)
    }

    print(
        f"\n{len(lines)} modules, {sum(lines.values())} lines, the longest {max(lines.values())}"
    )
    assert {path for path, count in lines.items() if count > MODULE_LINES} == set()
    assert max(lines.values()) <= HARD_MODULE_LINES


# --- what we do not do --------------------------------------------------------


def test_nothing_is_left_to_do():
    marks = re.compile(
        r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b"
    )
    found = [
        f"{name}:{number}"
        for name in published()
        for number, line in enumerate((text_of(name) or "").splitlines(), start=1)
        if marks.search(line)
    ]

    assert found == []


def test_no_module_is_called_nothing():
    vague = {
        "common",
        "utils",
        "util",
        "helpers",
        "helper",
        "misc",
        "manager",
        "managers",
    }

    assert [
        str(path)
        for path in sources(*PACKAGES, "tests")
        if vague & {path.stem, *path.parts}
    ] == []


def classes(path):
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]


def test_models_only_hold_rows():
    """No `save()` override, no default order, no signal, no generic key."""
    found = []
    for path in sources(*PACKAGES):
        if "models" not in path.parts:
            continue
        for node in classes(path):
            methods = {
                item.name for item in node.body if isinstance(item, ast.FunctionDef)
            }
            assigned = {
                target.id
                for item in node.body
                if isinstance(item, ast.Assign)
                for target in item.targets
                if isinstance(target, ast.Name)
            }
            found += [
                f"{path}:{node.name}.{name}" for name in methods & {"save", "delete"}
            ]
            found += [f"{path}:{node.name}.{name}" for name in assigned & {"ordering"}]
        found += [
            f"{path}: {name}"
            for name in imported(path)
            if "GenericForeignKey" in name
            or name.startswith("django.db.models.signals")
        ]

    assert found == []


def test_nobody_listens_to_signals():
    assert [
        f"{path}: {name}"
        for path in sources(*PACKAGES)
        for name in imported(path)
        if "signals" in name or "django.dispatch" in name
    ] == []


def test_no_query_is_built_from_the_callers_words():
    """`filter(**body)`, raw fragments and orders by name would be injections."""
    found = []
    for path in sources("catalog", "billing", "grants", "gating", "config/tenancy"):
        if "api" not in path.parts:
            continue
        for node in ast.walk(tree(path)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"filter", "exclude", "extra", "raw", "order_by"}
            ):
                spread = [keyword for keyword in node.keywords if keyword.arg is None]
                starred = [
                    argument
                    for argument in node.args
                    if isinstance(argument, ast.Starred)
                ]
                if spread or starred or node.func.attr in {"extra", "raw"}:
                    found.append(f"{path}:{node.lineno}")

    assert found == []


def test_no_text_is_trusted_to_be_markup():
    """Whatever is shown is escaped; what builds markup formats it."""
    found = [
        f"{path}: {name}"
        for path in sources(*PACKAGES)
        for name in imported(path)
        if name.endswith(("safestring.mark_safe", "html.html_safe"))
    ]
    templates = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "templates").rglob("*.html")
        if re.search(r"\|\s*safe\b|autoescape off", path.read_text())
    ]

    assert (found, templates) == ([], [])


# --- models and migrations ----------------------------------------------------


def own_models():
    return [
        model
        for model in apps.get_models()
        if model.__module__.split(".")[0] in PACKAGES
        and not model.__name__.startswith("Historical")
    ]


def test_every_model_that_people_edit_has_history():
    without = {
        model.__name__ for model in own_models() if not hasattr(model, "history")
    }

    assert sorted(without) == sorted(UNEDITED)


def test_every_row_belongs_to_a_realm():
    elsewhere = {
        "CredentialVersion",
        "JobRun",
        "Realm",
        "ServiceKey",
        "ServiceKeyNonce",
    }

    assert {
        model.__name__
        for model in own_models()
        if not any(field.name == "realm" for field in model._meta.fields)
    } == elsewhere


def test_migrations_are_complete(db):
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_migrations_are_linear():
    for package in PACKAGES:
        for folder in (ROOT / package).rglob("migrations"):
            numbers = [path.name[:4] for path in folder.glob("0*.py")]
            assert len(numbers) == len(set(numbers)), folder


def test_deployment_is_checked():
    """`check --deploy` finds nothing, where the deployment names its secrets and address."""
    environment = os.environ | {
        "PLANGATE_PUBLIC_URL": "https://plangate.example.com",
        "PLANGATE_ALLOWED_HOSTS": "plangate.example.com",
        "PLANGATE_SECRET_KEY": "0123456789abcdef" * 4,
        "PLANGATE_MASTER_KEY": "fedcba9876543210" * 4,
    }

    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


# --- nothing of the machine it was made on ------------------------------------


MACHINE = [
    "py" + r"pi\.org", "python" + "hosted", "np" + r"mjs\.(org|com)", "crates" + r"\.io", "/opt/wh" + "eels", r"/ro" + "ot/", r"/ho" + r"me/\w", r"/Us" + r"ers/\w", r"/wo" + "rk/",
    "extra-index" + "-url", "trusted" + "-host", r"\bproxy\.\w+\.\w+", "artifact" + "ory", "nex" + "us/repository",
]  # fmt: skip


def test_no_file_names_a_registry_or_a_machine():
    pattern = re.compile("|".join(MACHINE))
    read, found = 0, []
    for name in published():
        text = text_of(name)
        if text is None:
            continue
        read += 1
        found += [
            f"{name}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if pattern.search(line)
        ]

    print(f"\n{read} files read")
    assert found == []
    assert read >= 300


@pytest.mark.parametrize(
    "lock", ["requirements.lock", "requirements-demo.lock", "requirements-dev.lock"]
)
def test_lock_file_holds_names_versions_and_hashes_only(lock):
    line_forms = re.compile(
        r"^(#.*|[a-z0-9._\[\]-]+==\S+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|)$"
    )
    lines = (ROOT / lock).read_text().splitlines()

    assert [line for line in lines if not line_forms.match(line)] == []
    assert [line for line in lines if "://" in line] == []
    assert sum("==" in line for line in lines) >= 40


def test_every_code_of_a_refusal_is_documented():
    told = (ROOT / "docs" / "api.md").read_text()
    codes = {
        code
        for path in sources(*PACKAGES)
        for code in re.findall(r'"([A-Z]+\.[A-Z_]{3,})"', (ROOT / path).read_text())
    }

    assert {code for code in codes if f"`{code}`" not in told} == set()
    assert len(codes) > 50


def test_every_lint_exception_has_its_reason():
    text = (ROOT / "pyproject.toml").read_text()
    ignored = re.search(r"\nignore = \[\n(.*?)\n\]", text, re.DOTALL)[1].splitlines()

    assert [
        line for line in ignored if not re.match(r'\s+"[A-Z]+\d+",\s+# \S', line)
    ] == []
    assert len(ignored) >= 10
