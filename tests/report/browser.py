"""A headless Chromium driven over its DevTools pipe: no driver, no port, no package besides the browser itself."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
KEYS = {"Enter": ("\r", 13), "Tab": ("", 9), "Escape": ("", 27), "ArrowLeft": ("", 37), "ArrowUp": ("", 38),
        "ArrowRight": ("", 39), "ArrowDown": ("", 40), "Home": ("", 36), "End": ("", 35), " ": (" ", 32)}  # fmt: skip


def find() -> str | None:
    """The browser: $BENCH_TEST_CHROMIUM, or the first of `NAMES` on the path."""
    return os.environ.get("BENCH_TEST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One tab. Collects what goes wrong (`complaints`) and every address asked for (`requests`) since `open`."""

    def __init__(self, program: str, seconds: float = 30.0) -> None:
        self._seconds = seconds
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        from_us, self._to = os.pipe()
        self._from, to_us = os.pipe()
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                   "--hide-scrollbars", "--disable-background-networking", "--disable-component-update",
                   "--disable-extensions", f"--user-data-dir={self._profile.name}"]  # fmt: skip

        def ends() -> None:  # Chromium reads commands at 3 and answers at 4; the two may be in each other's place
            first, second = os.dup(from_us), os.dup(to_us)
            high_first, high_second = _above(first), _above(second)
            os.dup2(high_first, 3)
            os.dup2(high_second, 4)

        self._process = subprocess.Popen(
            [program, *options, "--remote-debugging-pipe", "about:blank"],
            preexec_fn=ends, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(from_us)
        os.close(to_us)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command's result. Raises RuntimeError with the browser's own words, TimeoutError when it is mute."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + self._seconds
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            piece = os.read(self._from, 1 << 20) if ready else b""
            if not piece:
                raise TimeoutError(f"no answer from the browser in {self._seconds:g} s")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self._events.append(message)
        return message

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False, media: str = "") -> None:
        """Load a file in a window of this size and wait until it is there."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                    {"name": "prefers-reduced-motion", "value": "reduce"}]  # fmt: skip
        self.send("Emulation.setEmulatedMedia", media=media, features=features)
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=0, y=0)
        self._events.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._receive()

    @property
    def complaints(self) -> list[str]:
        """Console messages, exceptions and the browser's own warnings (a broken policy, a refused request)."""
        self.run("0")  # whatever was said before this has arrived after it
        kinds = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
        return [json.dumps(event["params"])[:2000] for event in self._events if event["method"] in kinds]

    @property
    def requests(self) -> list[str]:
        """The addresses asked for, the page's own and data: left out."""
        self.run("0")
        asked = [event["params"]["request"]["url"] for event in self._events
                 if event["method"] == "Network.requestWillBeSent"]  # fmt: skip
        return [url for url in asked[1:] if not url.startswith("data:")]

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", script))
        return answer["result"].get("value")

    def key(self, name: str, shift: bool = False) -> None:
        """Press a key as a person would."""
        text, code = KEYS[name]
        about = {"key": name, "code": "Space" if name == " " else name, "windowsVirtualKeyCode": code,
                 "modifiers": 8 if shift else 0}  # fmt: skip
        self.send("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def _centre(self, selector: str) -> tuple[float, float]:
        script = f"""(() => {{
          const element = document.querySelector({json.dumps(selector)});
          element.scrollIntoView({{block: "center"}});
          const box = element.getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
        x, y = self.run(script)
        return x, y

    def hover(self, selector: str) -> None:
        """Move the pointer to the middle of the first match."""
        x, y = self._centre(selector)
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")  # scroll events first
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        self.hover(selector)
        x, y = self._centre(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        content = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole,
                            **({"clip": self._page_box()} if whole else {}))  # fmt: skip
        path.write_bytes(base64.b64decode(content["data"]))

    def _page_box(self) -> dict[str, float]:
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}

    def close(self) -> None:
        try:
            self._session = None
            self.send("Browser.close")
            self._process.wait(10)
        except (OSError, RuntimeError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()


def _above(handle: int) -> int:
    """A copy of the handle with a number above 4."""
    copies = []
    while handle <= 4:
        copies.append(handle)
        handle = os.dup(handle)
    return handle
