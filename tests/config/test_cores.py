"""Workers of the web server keep to a core each, and leave it when they end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEEP = (
    "import os, sys, threading; from pathlib import Path; from config.cores import keep_to_a_core;"
    "core = keep_to_a_core(Path(sys.argv[1])); seen = [];"
    "t = threading.Thread(target=lambda: seen.append((os.sched_getaffinity(0), os.sched_getscheduler(0))));"
    "t.start(); t.join(); print(core, sorted(seen[0][0]), seen[0][1] == os.SCHED_BATCH, flush=True); sys.stdin.read()"
)
CORES = sorted(os.sched_getaffinity(0))


def worker(folder, among=None):
    given = ["taskset", "-c", ",".join(map(str, among))] if among else []
    process = subprocess.Popen(
        [*given, sys.executable, "-c", KEEP, str(folder)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return process, process.stdout.readline().split(maxsplit=1)


def end(process):
    process.stdin.close()
    process.wait(timeout=30)
    process.stdout.close()


@pytest.mark.skipif(len(CORES) < 2, reason="one core only")
def test_each_worker_has_a_core_of_its_own_until_it_ends(tmp_path):
    workers = [worker(tmp_path) for _ in range(len(CORES) + 1)]
    told = [told for _, told in workers]
    first, *others = [process for process, _ in workers]

    assert [core for core, _ in told] == [*map(str, CORES), "None"]
    assert [rest for _, rest in told[:-1]] == [f"[{core}] True\n" for core in CORES]
    assert told[-1][1] == f"{CORES} False\n"

    end(first)
    again, (core, _) = worker(tmp_path)
    assert core == str(CORES[0])
    for process in (again, *others):
        end(process)


def test_where_there_is_one_core_nothing_is_kept(tmp_path):
    process, told = worker(tmp_path, among=CORES[:1])
    end(process)

    assert told == ["None", f"[{CORES[0]}] False\n"]


def test_a_folder_that_cannot_be_made_keeps_nobody_from_serving(tmp_path):
    there = tmp_path / "no folder"
    there.write_text("")

    process, told = worker(there)
    end(process)

    assert told == ["None", f"{CORES} False\n"]
