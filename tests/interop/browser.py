"""Chromium without a screen, driven through its DevTools protocol, a WebSocket itself."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from conftest import need

OPTIONS = [
    "--headless",
    "--no-sandbox",  # of no use in the containers that tests run in, and impossible there
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--ignore-certificate-errors",
]
DEADLINE = 15

# Resolves when the condition holds; the document's changes are what makes it look again.
WAIT = """new Promise(resolve => {
  const look = () => (CONDITION) && (observer.disconnect(), resolve(true));
  const observer = new MutationObserver(look);
  observer.observe(document, {
    subtree: true, childList: true, characterData: true, attributes: true,
  });
  look();
})"""


class Tab:
    """A page, with what it stores, of its own."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session
        self._closed = False

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol in this tab and return its result."""
        return self._browser.call(method, self._session, **parameters)

    def open(self, url: str) -> None:
        """Go to a page and wait until its scripts have run."""
        told = self.call("Page.navigate", url=url)
        assert "errorText" not in told, told
        self.run("""new Promise(resolve => {
          if (document.readyState === "complete") resolve();
          else addEventListener("load", () => resolve());
        })""")

    def run(self, script: str) -> Any:
        """Run a script in the page; return its value, or that of the promise it gives."""
        told = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression about the document is true."""
        assert self.run(WAIT.replace("CONDITION", condition))

    def close(self) -> None:
        """Close it, as a user does; nothing if it is closed."""
        if not self._closed:
            self._closed = True
            self._browser.call("Target.closeTarget", targetId=self._target)


class Browser:
    """The protocol's connection; events are of no interest, only results."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._calls = 0

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Call a method and return its result."""
        self._calls += 1
        message: dict[str, Any] = {"id": self._calls, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._connection.send(json.dumps(message))
        deadline = time.monotonic() + DEADLINE
        while True:
            told = json.loads(self._connection.recv(timeout=deadline - time.monotonic()))
            if told.get("id") == self._calls:
                assert "error" not in told, f"{method}: {told['error']}"
                return told["result"]

    def tab(self) -> Tab:
        """Open a tab with cookies and a store of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        target = target["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Tab(self, target, session)


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Run Chromium with a new profile."""
    need("chromium")
    process = subprocess.Popen(
        ["chromium", *OPTIONS, "--remote-debugging-port=0", f"--user-data-dir={profile}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        url = ""
        printed = []
        for line in process.stderr:
            printed.append(line)
            if line.startswith("DevTools listening on "):
                url = line.split()[-1]
                break
        assert url, "".join(printed)
        with connect(url, max_size=None, proxy=None, open_timeout=DEADLINE) as connection:
            browser = Browser(connection)
            yield browser
            browser.call("Browser.close")
        process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.wait(DEADLINE)
        process.stderr.close()
