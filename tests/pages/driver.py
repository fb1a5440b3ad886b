"""A real Chromium, driven over a pipe by the DevTools protocol: real keys, wheels, fingers, downloads, screenshots.

    with Browser(folder) as browser:
        browser.open(path, width=390)
        browser.key("y")
        browser.value("document.title")

https://chromedevtools.github.io/devtools-protocol/ names the methods. No package is needed.
"""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
CODES = {" ": "Space", "Enter": "Enter", "ArrowDown": "ArrowDown", "ArrowUp": "ArrowUp", "Escape": "Escape"}
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--mute-audio", "--disable-dev-shm-usage", "--no-first-run")
PATIENCE = 60.0  # s; of a machine that has much else to do


class Browser:
    """One tab. folder: for its profile and downloads."""

    def __init__(self, folder):
        if CHROMIUM is None or os.name == "nt":
            pytest.skip("there is no Chromium here")
        self.downloads, self._number, self._left, self.problems = folder / "downloads", 0, b"", []
        self.downloads.mkdir(exist_ok=True)
        (to_read, self._out), (self._in, to_write) = os.pipe(), os.pipe()
        flags = [*FLAGS, "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={folder / 'profile'}"]
        # Chromium reads commands from descriptor 3 and writes to 4
        shell = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        command = ["bash", "-c", shell, "bash", CHROMIUM, *flags, "--remote-debugging-pipe", "about:blank"]
        log = (folder / "chromium.log").open("wb")
        self.process = subprocess.Popen(command, pass_fds=(to_read, to_write), stderr=log, stdout=log)
        log.close()
        os.close(to_read), os.close(to_write)
        self.session = None
        pages = [each for each in self.call("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        target = pages[0]["targetId"] if pages else self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.session = None
            self.call("Browser.close")
        self.process.kill()
        self.process.wait()
        os.close(self._in), os.close(self._out)

    def call(self, method, **parameters):
        """A command, and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self):
        while b"\0" not in self._left:
            part = os.read(self._in, 2**16)
            assert part, "Chromium has ended"
            self._left += part
        message, self._left = self._left.split(b"\0", 1)
        answer = json.loads(message)
        if answer.get("method") == "Runtime.exceptionThrown":
            self.problems.append(answer["params"]["exceptionDetails"].get("exception", {}).get("description", "?"))
        if answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
            self.problems.append(answer["params"]["entry"]["text"])
        return answer

    def open(self, path, width=1440, height=900, touch=False):
        """A file, in a window of this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.call("Page.navigate", url=path.as_uri())
        self.until("document.readyState === 'complete'")

    def reload(self):
        """The same page anew."""
        self.call("Runtime.evaluate", expression="window.before = true")
        self.call("Page.reload")
        self.until("!window.before && document.readyState === 'complete'")

    def value(self, expression):
        """What a JavaScript expression is."""
        given = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        found = self.call("Runtime.evaluate", **given)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression):
        """Wait for an expression to be true."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(AssertionError):
                if self.value(expression):
                    return
            time.sleep(0.02)
        raise AssertionError(f"never true: {expression}")

    def settled(self):
        """Wait for what is drawn with the next frames."""
        self.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def key(self, key):
        """Press and release a key."""
        about = {"key": key, "code": CODES.get(key, f"Key{key.upper()}")}
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)
        self.settled()

    def type(self, text):
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def click(self, selector):
        """Click into the middle of an element."""
        self.drag(selector, 0.5, 0.5)

    def place(self, selector, share=0.5):
        """Where on the screen an element is.   -> x, y"""
        box = self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = e.getBoundingClientRect(); "
            "return [r.left, r.top, r.width, r.height]; })()"
        )
        return box[0] + share * box[2], box[1] + box[3] / 2

    def drag(self, selector, start, end):
        """Press at a share of an element's width, move, release at another."""
        (x, y), (to, _) = self.place(selector, start), self.place(selector, end)
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", buttons=1, clickCount=1)
        for i in range(1, 6) if start != end else ():
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + (to - x) * i / 5, y=y, buttons=1)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=to, y=y, button="left", clickCount=1)
        self.settled()

    def wheel(self, selector, share, delta):
        """Turn the wheel over an element."""
        x, y = self.place(selector, share)
        self.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=delta)
        self.settled()

    def pinch(self, selector, before, after):
        """Two fingers, from these shares of the width to others."""
        places = [[self.place(selector, share) for share in each] for each in (before, after)]
        self._touch("touchStart", places[0])
        for i in range(1, 6):
            at = [(a[0] + (b[0] - a[0]) * i / 5, a[1]) for a, b in zip(*places, strict=True)]
            self._touch("touchMove", at)
        self._touch("touchEnd", [])
        self.settled()

    def _touch(self, kind, places):
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        self.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    def screenshot(self, path, whole=True):
        """A picture of the page."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))
