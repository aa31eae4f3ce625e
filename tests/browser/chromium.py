"""A browser without a window: Debian's Chromium, driven by its DevTools protocol over two pipes."""

import json
import os
import select
import shutil
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.waiting import PATIENCE

PROGRAM = shutil.which("chromium")


class Tab:
    """One page. Commands of the protocol that are used here, and no more."""

    def __init__(self, write: int, read: int) -> None:
        self._write = write
        self._read = read
        self._come = b""
        self._number = 0
        self._session = ""
        #: What the page did that it must not: each message of its console, each request.
        self.events: list[dict[str, Any]] = []

    def command(self, method: str, **arguments: Any) -> Any:
        """Send one, wait for its answer, and keep the events that come before."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next()
            if got.get("id") == self._number:
                assert "error" not in got, got
                return got["result"]
            self.events.append(got)

    def _next(self) -> dict[str, Any]:
        """The next message, which ends with a zero byte."""
        while b"\0" not in self._come:
            assert select.select([self._read], [], [], PATIENCE)[0], "the browser says nothing"
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has ended"
            self._come += data
        message, _, self._come = self._come.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def attach(self) -> None:
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.command(domain + ".enable")

    def open(self, page: Path, *, scripts: bool = True, width: int = 1280, dark: bool = False) -> None:
        """Load a page of this machine, and wait until it is there."""
        self.command("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.command("Emulation.setEmulatedMedia", features=features)
        self.events.clear()
        self.command("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        got = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    def press(self, *keys: str) -> None:
        """One key after the other, as a person does: a letter, or a name of the UI Events specification."""
        names = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "/": 191}
        for key in keys:
            code = names.get(key, ord(key.upper()[0]))
            text = {"Enter": "\r", "Tab": "", "Escape": ""}.get(key, key)
            event = {"key": key, "windowsVirtualKeyCode": code}
            self.command("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **event)
            self.command("Input.dispatchKeyEvent", type="keyUp", **event)

    def picture(self, to: Path) -> None:
        """The whole page, as long as it is."""
        to.write_bytes(b64decode(self.command("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def complaints(self) -> list[str]:
        """What the browser says is wrong with the page, and what it asked the network for beside the page itself."""
        found = []
        for event in self.events:
            method, about = event.get("method"), event.get("params", {})
            if method in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                found.append(json.dumps(about))
            if method == "Network.requestWillBeSent" and not about["request"]["url"].startswith(("file:", "about:")):
                found.append("asks for " + about["request"]["url"])
        return found


@contextmanager
def browser() -> Iterator[Tab]:
    """Start one, with a profile of its own; it is gone afterwards."""
    assert PROGRAM
    to_browser, from_browser = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(prefix="pyrunc-browser-", ignore_cleanup_errors=True) as profile:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        flags += ["--remote-debugging-pipe", f"--user-data-dir={profile}", "--disable-background-networking"]
        process = subprocess.Popen(
            # The protocol is spoken on descriptors 3 and 4. dash has no numbers of two digits.
            ["bash", "-c", 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"', "sh", str(to_browser[0]), str(from_browser[1])]
            + [PROGRAM, *flags],
            pass_fds=(to_browser[0], from_browser[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        try:
            tab = Tab(to_browser[1], from_browser[0])
            tab.attach()
            yield tab
            tab._session = ""
            tab.command("Browser.close")
        finally:
            os.close(to_browser[1])
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(from_browser[0])
