"""The browser of the page tests: Debian's Chromium, driven by Playwright."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


def executable():
    """Return the path of Chromium, None where it is not installed."""
    return os.environ.get("PLANGATE_CHROMIUM") or next(
        filter(
            None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
        ),
        None,
    )


def install():
    """Install Chromium from Debian's packages where it is missing."""
    if executable():
        return
    apt = ["apt-get"] if os.geteuid() == 0 else ["sudo", "-n", "apt-get"]
    print("==> installing chromium (Debian package) for the page tests", flush=True)
    quiet = {"stdout": subprocess.DEVNULL}
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*apt, "update", "-q"], env=env, check=False, **quiet)
    subprocess.run(
        [*apt, "install", "-y", "-q", "--no-install-recommends", "chromium"],
        env=env,
        check=False,
        **quiet,
    )
    if not executable():
        sys.exit(
            "The page tests need Chromium: install the package `chromium`, or set "
            "PLANGATE_CHROMIUM to its path."
        )


@contextmanager
def browser():
    """Yield a headless browser that makes no request of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=executable(), args=ARGUMENTS
        )
        try:
            yield chromium
        finally:
            chromium.close()


if __name__ == "__main__":
    install()
