"""The page of a scan in a real Chromium, with real keys, wheels and fingers. Without one: skipped."""

import csv
import time

import numpy as np
import pytest
import soundfile

from minast.checkpoint import Info, save
from minast.config import FeatureConfig, ModelConfig
from minast.datasets import open_dataset
from minast.model import AST
from tests.pages.driver import PATIENCE, Browser
from tests.review.test_page import RATE, write

NASTY = "<img src=x onerror=document.title='pwned'>"
LABELS = ["dog", NASTY, "=cmd"]
LONG, PART = 25.0, 10  # seconds of the first recording; of the parts of its sound


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two recordings, with tones at known times, in small tiles and parts.   -> index.html, events of the first"""
    folder = tmp_path_factory.mktemp("review")
    rng, t = np.random.default_rng(0), np.arange(LONG * RATE) / RATE
    wave = 0.01 * rng.standard_normal(len(t)) + 0.3 * np.sin(2 * np.pi * 880 * t) * ((t % 2.5) < 1)
    soundfile.write(folder / "long.flac", wave, RATE)
    soundfile.write(folder / f"{NASTY.replace('/', '')}.wav", wave[: 3 * RATE], RATE)
    features = FeatureConfig(frames=48, mean=-7, std=4)
    config = ModelConfig(dim=16, depth=1, heads=2, frames=48, fstride=16, tstride=16, classes=3, mel_bins=128)
    save(folder / "m.npz", AST(config, "numpy", seed=0), LABELS, features, "ce")
    events = [[2.5 * i, 2.5 * i + 1, i % 3, round(0.9 - 0.05 * i, 2)] for i in range(9)]
    found = [(str(folder / "long.flac"), {"seconds": LONG, "events": events})]
    found.append((str(folder / f"{NASTY.replace('/', '')}.wav"), {"seconds": 3.0, "events": [[0.0, 1.0, 1, 0.7]]}))
    with pytest.MonkeyPatch.context() as patch:
        for module in ("recording", "page"):
            patch.setattr(f"minast.review.{module}.SOUND", PART)
            patch.setattr(f"minast.review.{module}.TILE", 512)
        patch.setattr("minast.review.tiles.TILE", 512)
        assert write(folder / "page", found, (str(folder / "m.npz"), Info(LABELS, features, "ce")), most=2) == []
    return folder / "page" / "index.html", events


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(chromium, page):
    """Nothing is judged yet."""
    chromium.open(page[0])
    chromium.value("localStorage.clear()")
    yield chromium
    assert chromium.problems == []


def view(browser):
    """What the timeline shows.   -> start, span, in s"""
    browser.settled()
    return [float(browser.value(f"document.getElementById('picture').dataset.{name}")) for name in ("start", "span")]


def texts(browser, selector):
    return browser.value(f"[...document.querySelectorAll({selector!r})].map((e) => e.textContent)")


def rows(browser):
    """The list of events: verdict, label, and which is chosen."""
    marks, labels = (texts(browser, f"#events .row > {name}") for name in ("i", "b"))
    chosen = browser.value("[...document.querySelectorAll('#events .row')].findIndex((e) => e.matches('.chosen'))")
    return list(zip(marks, labels, strict=True)), chosen


@pytest.mark.parametrize(("width", "touch"), [(1440, False), (390, True)])
def test_it_opens_and_fits(page, browser, width, touch):
    browser.open(page[0], width, touch=touch)
    assert browser.value("document.title") == "What was heard"
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    assert texts(browser, "#files .row b") == ["long.flac", f"{NASTY.replace('/', '')}.wav"]
    browser.until("[...document.querySelectorAll('#view img.mel')].every((e) => e.complete && e.naturalWidth)")
    assert len(rows(browser)[0]) == 9 and len(texts(browser, "#lanes .lane")) == 3


def test_zoom_and_pan(page, browser):
    browser.open(page[0])
    browser.key("0")
    assert view(browser) == [0, LONG]
    browser.wheel("#picture", 0.25, -400)  # around what is under the pointer
    start, span = view(browser)
    assert span == pytest.approx(LONG * np.exp(-0.8), rel=0.02) and start + span / 4 == pytest.approx(LONG / 4, abs=0.1)
    browser.drag("#picture", 0.75, 0.25)
    assert view(browser) == pytest.approx([start + span / 2, span], abs=0.3)
    for key, wanted in (("+", span / 2), ("-", span)):
        browser.key(key)
        assert view(browser)[1] == pytest.approx(wanted, rel=1e-3)
    before = view(browser)
    browser.key("ArrowRight")
    assert view(browser) == pytest.approx([before[0] + span / 4, span], abs=0.01)
    for _ in range(12):
        browser.key("+")
    assert view(browser)[1] == 0.25  # no further
    assert "/0-000" in browser.value("document.querySelector('#tiles img:last-child').src")  # the finest pictures
    browser.until("[...document.querySelectorAll('#tiles img')].every((e) => e.complete && e.naturalWidth)")
    browser.click("#overview")
    start, span = view(browser)
    assert start + span / 2 == pytest.approx(LONG / 2, abs=0.05)


def test_two_fingers(page, browser):
    browser.open(page[0], 390, touch=True)
    browser.key("0")
    browser.pinch("#picture", (0.4, 0.6), (0.2, 0.8))
    start, span = view(browser)
    assert span == pytest.approx(LONG / 3, rel=0.1) and start + span / 2 == pytest.approx(LONG / 2, abs=0.5)
    browser.pinch("#picture", (0.2, 0.8), (0.45, 0.55))
    assert view(browser)[1] > 0.85 * LONG


def test_sounds_play_from_part_to_part(page, browser):
    browser.open(page[0])
    browser.value("window.errors = []; document.getElementById('sound').onerror = (e) => errors.push(1)")
    browser.key(" ")
    browser.until("document.getElementById('sound').currentTime > 0.1")
    assert not browser.value("document.getElementById('cursor').hidden")
    assert browser.value("document.getElementById('play').textContent") == "■ Stop"
    browser.until("document.getElementById('sound').paused")  # at the end of the event, 1 s
    assert 0.95 < browser.value("document.getElementById('sound').currentTime") < 2.5
    for _ in range(4):
        browser.key("j")
    browser.key(" ")  # the event at 10 s, in the second part
    browser.until("document.getElementById('sound').currentTime > 0.2 && sound.src.endsWith('0001.mp3')")
    browser.key(" ")
    assert browser.value("document.getElementById('sound').paused")
    browser.click("#picture")  # plays from there: the middle of what is seen
    start, span = view(browser)
    browser.until("!document.getElementById('sound').paused")
    assert browser.value("sound.currentTime + 10") == pytest.approx(start + span / 2, abs=2.5)
    browser.key(" ")
    browser.key("0")
    browser.drag("#picture", 0.37, 0.37)  # 9.25 s: it goes on from the first part to the second
    browser.until("sound.src.endsWith('0001.mp3') && sound.currentTime > 0.1")
    assert 40 < browser.value("parseFloat(document.getElementById('cursor').style.left)") < 60
    assert browser.value("errors.length") == 0


def test_another_recording_has_its_own_sound(page, browser):
    """Also where the first one was still loading, and a sound that was stopped while it loaded stays silent."""
    browser.open(page[0])
    browser.key(" ")
    browser.until("document.getElementById('sound').currentTime > 0.1")
    first = browser.value("sound.src")
    for _ in range(9):
        browser.key("j")  # the ninth is in the second recording
    assert browser.value("document.getElementById('sound').paused")
    browser.key(" ")
    browser.until("document.getElementById('sound').currentTime > 0.1")
    second = browser.value("sound.src")
    assert second != first and second.split("/")[-2] == "000001"
    browser.key(" ")
    browser.key("k")
    browser.key(" ")
    browser.key("j")  # at once: the first one has not begun
    time.sleep(1)
    assert browser.value("sound.paused") and not browser.value("sound.src").startswith(first)


def test_two_tabs_of_one_page_share_their_verdicts(page, browser):
    """The other one is a text in the browser's memory, and the event that says so."""
    browser.open(page[0])
    browser.key("y")
    told = "dispatchEvent(new StorageEvent('storage', { key }))"
    browser.value("window.key = JSON.parse(document.getElementById('scan').textContent).key")
    browser.value(f"localStorage.setItem(key, JSON.stringify({{ 0: ['right', ''], 3: ['wrong', ''] }})), {told}")
    browser.until("document.getElementById('progress').textContent.startsWith('2 of')")
    browser.key("n")
    browser.until("document.getElementById('progress').textContent.startsWith('3 of')")
    kept = browser.value("localStorage.getItem(key)")
    assert '"0":["right"' in kept and '"1":["wrong"' in kept and '"3":["wrong"' in kept
    browser.value(f"localStorage.setItem(key, '{{}}'), {told}")
    browser.until("document.getElementById('progress').textContent.startsWith('Nothing')")


def test_every_key(page, browser):
    browser.open(page[0])
    assert rows(browser)[1] == 0
    browser.key("j"), browser.key("ArrowDown")
    assert rows(browser)[1] == 2
    browser.key("k"), browser.key("ArrowUp")
    assert rows(browser)[1] == 0
    browser.key("y")
    browser.key("n")
    found, chosen = rows(browser)
    assert [mark for mark, _ in found[:3]] == ["✓", "✗", ""] and chosen == 2  # each verdict goes on to the next
    browser.key("r")
    assert browser.value("document.activeElement.id") == "label"
    browser.type("yes; a cat")  # letters are letters here
    browser.key("Enter")
    found, chosen = rows(browser)
    assert found[2] == ("✎", "=cmd → yes; a cat") and chosen == 3
    browser.key("u")
    assert rows(browser)[0][2] == ("", "=cmd") and rows(browser)[1] == 2
    browser.key("u")
    assert [mark for mark, _ in rows(browser)[0][:3]] == ["✓", "", ""] and rows(browser)[1] == 1
    assert texts(browser, "#progress") == ["1 of 10 events judged."]
    browser.key("k")
    assert browser.value("document.getElementById('map').hidden") is False
    browser.until("document.getElementById('map').naturalWidth > 0")
    browser.key("e")
    assert browser.value("document.getElementById('map').hidden") is True
    browser.key("r"), browser.key("Escape")
    assert browser.value("document.getElementById('other').hidden") is True


def test_a_label_that_was_typed_is_offered_again(page, browser):
    browser.open(page[0])
    browser.key("r")
    assert browser.value("document.getElementById('label').value") == ""
    browser.type("owl"), browser.key("Enter")
    browser.key("r"), browser.key("Enter")  # the same once more
    browser.key("r")
    browser.type("fox"), browser.key("Enter")  # what is typed replaces it
    assert [label for _, label in rows(browser)[0][:3]] == [f"{name} → {own}" for name, own in zip(
        [browser.value(f"JSON.parse(document.getElementById('scan').textContent).labels[{k}]") for k in range(3)],
        ("owl", "owl", "fox"), strict=True,
    )]  # fmt: skip
    browser.reload()
    offered = browser.value("[...document.querySelectorAll('#known option')].map((o) => o.value)")
    assert offered[-2:] == ["owl", "fox"] and len(offered) == len(set(offered)) == 5


def test_lists(page, browser):
    browser.open(page[0])

    def choose(name, value):
        script = (
            f"const s = document.getElementById('{name}'); s.value = '{value}'; s.dispatchEvent(new Event('change'))"
        )
        browser.value(f"(() => {{ {script} }})()")
        browser.settled()

    choose("order", "score")
    scores = [float(text) for text in texts(browser, "#events .score")]
    assert scores == sorted(scores, reverse=True) and len(scores) == 9
    choose("only", "1")
    assert [label for _, label in rows(browser)[0]] == [NASTY] * 3 and len(texts(browser, "#lanes .lane")) == 1
    choose("scope", "all")
    assert texts(browser, "#count") == ["4 events"]
    browser.click("#events .row:nth-child(4)")
    assert texts(browser, "#name") == ["long.flac"]
    choose("only", "")
    browser.click("#files .row:nth-child(2)")
    assert texts(browser, "#name") == [f"{NASTY}.wav"] and browser.value("document.title") == "What was heard"
    browser.value("const f = document.getElementById('find'); f.value = 'LONG'; f.dispatchEvent(new Event('input'))")
    assert texts(browser, "#files .row b") == ["long.flac"]


def test_labels_survive_and_are_a_manifest(page, browser):
    index, events = page
    browser.open(index)
    browser.click("#right")
    browser.click("#wrong")
    browser.key("r")
    browser.type("-cat, big")
    browser.key("Enter")
    for _ in range(6):
        browser.key("y")
    assert rows(browser)[1] == 0 and texts(browser, "#name") == [f"{NASTY}.wav"]  # on to the next recording
    browser.key("y")
    time.sleep(0.5)  # Chromium's storage is another process, which may hear of keys late: once in 14 runs it had none
    browser.reload()
    assert texts(browser, "#progress") == ["10 of 10 events judged."]
    browser.click("#files .row:nth-child(1)")
    assert [mark for mark, _ in rows(browser)[0]] == ["✓", "✗", "✎", *"✓" * 6]
    browser.click("#download")
    table, end = browser.downloads / "labels.csv", time.monotonic() + PATIENCE
    while not table.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    with open(table, newline="", encoding="utf-8") as f:
        header, *found = csv.reader(f)
    assert header == ["file", "start", "end", "label", "verdict", "heard", "score"] and len(found) == 10
    assert found[1][3:6] == [NASTY, "wrong", NASTY] and found[2][3:6] == ["'-cat, big", "relabelled", "'=cmd"]
    assert [[float(row[1]), float(row[2]), float(row[6])] for row in found[:9]] == [[a, b, p] for a, b, _, p in events]
    data = open_dataset(str(table))
    assert data.labels == ["-cat, big", NASTY, "=cmd", "dog"] and len(data.clips) == 9
    assert {len(clip.wave(RATE)) for clip in data.clips} == {RATE}


def test_ten_thousand_events(page, browser, tmp_path):
    from minast.review.page import html

    about = {"seconds": 600.0, "number": 0, "levels": 0, "sound": "", "relevance": {}}
    info = Info([f"label {k}" for k in range(50)], FeatureConfig(frames=98, mean=0, std=1), "ce")
    own = [[60.0 * i, 60.0 * i + 3, i, 0.9] for i in range(10)]
    (tmp_path / "index.html").write_text(html("many", [(f"/a/{i:04}.wav", own, about) for i in range(1000)], info))
    browser.open(tmp_path / "index.html")
    browser.value("scope.value = 'all'; scope.dispatchEvent(new Event('change'))")
    assert texts(browser, "#count") == ["10000 events"]
    assert browser.value("document.querySelectorAll('*').length") < 700
    browser.value("document.getElementById('events').scrollTop = 1e9")
    browser.until("[...document.querySelectorAll('#events .of')].at(-1).textContent === '0999.wav'")
    browser.click("#events .row:last-child")
    assert texts(browser, "#name") == ["0999.wav"]
