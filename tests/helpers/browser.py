"""Debian's chromium without a screen, driven by playwright, with every request refused and counted."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"


def missing(what: str) -> None:
    """Skip, or fail where all is to be tested: in CI, and where AXE_CORE is set."""
    if os.environ.get("CI", "").lower() in {"1", "true"} or os.environ.get("AXE_CORE"):
        pytest.fail(f"{what}; .ci/run installs it")
    pytest.skip(what)


@contextmanager
def chromium(*arguments: str) -> Iterator[Any]:
    """Start the browser with further arguments, or skip where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed: pip install playwright")
        return
    if not Path(CHROMIUM).exists():
        missing("chromium is not installed: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *arguments],
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Any, path: Path, *, beside: Path | None = None, **options: Any
) -> Iterator[SimpleNamespace]:
    """Open a page; yields it with what the console said and which requests were tried besides the file itself.

    Parameters
    ----------
    browser
        Of `chromium`.
    path
        The HTML file.
    beside
        A folder whose files the page may ask for: of a page that is one of many.
    options
        Of playwright's ``new_context``, such as ``java_script_enabled``, ``color_scheme`` or ``viewport``.
    """
    context = browser.new_context(**options)
    page, said, asked = context.new_page(), [], []
    folder = f"{beside.resolve().as_uri()}/" if beside else None

    def decide(route: Any) -> None:
        # Only the file itself; `data:` addresses never come here.
        address = route.request.url.partition("#")[0]
        if address == path.resolve().as_uri() or (folder and address.startswith(folder)):
            route.continue_()
        else:
            asked.append(route.request.url)
            route.abort()

    context.route("**/*", decide)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.resolve().as_uri())
    try:
        yield SimpleNamespace(page=page, said=said, asked=asked)
    finally:
        context.close()


def violations(page: Any) -> list[str]:
    """Return what axe-core finds wrong with an open page; skips where the folder AXE_CORE is not given."""
    source = Path(os.environ.get("AXE_CORE", "/nowhere"), "axe.min.js")
    if not source.exists():
        missing(
            "AXE_CORE names no folder with axe.min.js: npm install axe-core, AXE_CORE=…/node_modules/axe-core"
        )
    page.evaluate(source.read_text("utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{rule['id']}: {node['html'][:200]}" for rule in found["violations"] for node in rule["nodes"]]
