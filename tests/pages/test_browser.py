"""The pages in a real browser: what a click does, that sounds play, that nothing else runs. Without one: skipped."""

import base64
import hashlib
import json
import re
import subprocess

import pytest

from minast import pages
from minast.pages import Column, Section, page, player, seek, sound_uri, spectrogram_uri, table
from minast.pages.html import Html, number
from tests.pages.driver import CHROMIUM
from tests.pages.made import HOSTILE, made, sound


def in_browser(whole, script, folder, width=1280):
    """What a script finds in a page: the value of its `result` after a second.   The page's own policy stays."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    code = (
        f"const result = {{}};\n{script}\n"
        "setTimeout(() => { document.documentElement.dataset.result = JSON.stringify(result); }, 1500);"
    )
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    whole = whole.replace("script-src ", f"script-src 'sha256-{digest}' ")
    whole = whole.replace("</body>", f"<script>{code}</script></body>")
    path = folder / "page.html"
    path.write_text(whole, "utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--mute-audio", f"--window-size={width},900"]
    command += ["--autoplay-policy=no-user-gesture-required", "--virtual-time-budget=4000", "--dump-dom"]
    command += [f"--user-data-dir={folder / 'profile'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    found = re.search(r'data-result="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def test_a_click_sorts_a_field_filters_and_a_button_unfolds(tmp_path):
    rows = [[f"clip {i}", (i * 7) % 60, None if i == 3 else i / 60] for i in range(60)]
    whole = page("t", [Section("s", table([Column("name"), Column("n", number), Column("x", number)], rows, fold=5))])
    found = in_browser(
        whole,
        """
        const rows = () => [...document.querySelectorAll("tbody tr")];
        const shown = () => rows().filter((row) => !row.hidden).map((row) => row.cells[1].textContent);
        const [name, n, x] = document.querySelectorAll("thead button");
        result.first = shown();
        n.click(); result.down = shown(); result.sort = n.parentElement.getAttribute("aria-sort");
        n.click(); result.up = shown();
        x.click(); result.last = rows().at(-1).cells[0].textContent;
        x.click(); result.still = rows().at(-1).cells[0].textContent;
        name.click(); result.names = rows().slice(0, 3).map((row) => row.cells[0].textContent);
        const field = document.querySelector("input[type=search]");
        field.value = "CLIP 59"; field.dispatchEvent(new Event("input")); result.filtered = shown();
        field.value = ""; field.dispatchEvent(new Event("input"));
        document.querySelector(".tools button").click(); result.all = shown().length;
        """,
        tmp_path,
    )
    assert found["first"] == ["0", "7", "14", "21", "28"] and found["sort"] == "descending"
    assert found["down"] == ["59", "58", "57", "56", "55"] and found["up"] == ["0", "1", "2", "3", "4"]
    assert found["last"] == found["still"] == "clip 3" and found["names"] == ["clip 0", "clip 1", "clip 2"]
    assert found["filtered"] == [str(59 * 7 % 60)] and found["all"] == 60


def test_a_sound_plays_and_the_cursor_moves(tmp_path):
    import numpy as np

    import minast

    wave = np.tile(sound(3)(16000), 8)  # 4 s
    one = player(sound_uri(wave, 16000), 4.0, spectrogram_uri(minast.log_mel(wave)), "a tone", name="one")
    whole = page("t", [Section("s", Html(one + seek("one", 1.0, "from 1 s")))])
    found = in_browser(
        whole,
        """
        const audio = document.querySelector("audio"), cursor = document.querySelector(".cursor");
        audio.addEventListener("error", () => { result.error = audio.error.message; });
        audio.addEventListener("loadedmetadata", () => { result.seconds = audio.duration; });
        document.querySelector(".seek").click();
        setTimeout(() => { result.at = audio.currentTime; result.left = parseFloat(cursor.style.left); }, 1300);
        result.picture = document.querySelector(".mel").naturalWidth;
        """,
        tmp_path,
    )
    assert "error" not in found and abs(found["seconds"] - 4.0) < 0.2
    assert found["at"] >= 1.0 and abs(found["left"] - 25 * found["at"]) < 10


@pytest.mark.parametrize("width", [1280, 390])
def test_a_report_fits_the_screen_and_runs_nothing_of_a_user(tmp_path, width):
    record, shown = made(labels=[HOSTILE.partition("\x1b")[0], "b" * 300, "c", "d"])
    found = in_browser(
        pages.run_page(record, shown),
        """
        window.alert = () => { result.alert = true; };
        const page = document.documentElement;
        result.wide = page.scrollWidth - innerWidth;
        result.broken = [...document.images].filter((image) => !image.naturalWidth).length;
        result.images = document.images.length;
        """,
        tmp_path,
        width,
    )
    assert found["wide"] <= 0 and found["broken"] == 0 and found["images"] >= 6 and "alert" not in found


def test_the_policy_stops_foreign_scripts(tmp_path):
    whole = page("t", [Section("s", Html("<p>x</p><script>document.title = 'foreign'</script>"))])
    assert in_browser(whole, "result.title = document.title;", tmp_path)["title"] == "t"
