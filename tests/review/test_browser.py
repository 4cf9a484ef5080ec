"""A reviewer at work: the page in headless Chromium, with real clips and real keys."""

import csv
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from outputs import brightness

from framewatch.cli.main import main
from framewatch.feedback import VerdictLog

pytestmark = pytest.mark.system

# As root, and without reaching for the network at every start.
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium is on the PATH: install Debian's package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=_FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, server: str) -> Iterator[Any]:
    """The page, opened; what its console complains of is an error."""
    opened = browser.new_page(viewport={"width": 1280, "height": 860})
    opened.set_default_timeout(20_000)
    complaints: list[str] = []
    opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(server)
    opened.wait_for_selector("#queue li.current")
    until(opened, "state.moment !== null")
    yield opened
    opened.close()
    assert complaints == []


def until(page: Any, holds: str, within_s: float = 20.0) -> None:
    """Waits for a JavaScript expression. Playwright's own way is eval, which the page's policy bars."""
    deadline = time.monotonic() + within_s
    while not page.evaluate(holds):
        assert time.monotonic() < deadline, f"never: {holds}"
        page.wait_for_timeout(50)


def playing(page: Any) -> None:
    until(page, "$('video').readyState >= 3 && !$('video').seeking")


def shade(page: Any) -> float:
    """Mean level of the picture that the video element shows."""
    return page.evaluate(
        """() => {
          const canvas = new OffscreenCanvas(16, 12), context = canvas.getContext("2d");
          context.drawImage($("video"), 0, 0, 16, 12);
          const {data} = context.getImageData(0, 0, 16, 12);
          let sum = 0;
          for (let i = 0; i < data.length; i += 4) sum += data[i] + data[i + 1] + data[i + 2];
          return sum / (data.length / 4 * 3);
        }"""
    )


def items(page: Any) -> list[dict]:
    return page.evaluate("state.items")


def test_open_and_play_the_moment_before_its_peak(page: Any) -> None:
    """The first incident peaks at second 6; the clip plays from 3 s before it, and its pictures change."""
    first = page.evaluate("state.moment")
    assert (first["start_s"], first["peak_s"]) == (5, 6)
    playing(page)
    until(page, "player.second > 3")
    assert 3 <= page.evaluate("player.second") < 6
    page.evaluate("$('video').pause()")
    page.evaluate("player.seek(6.5)")
    playing(page)
    assert abs(shade(page) - brightness(6)) < 7
    page.keyboard.press("ArrowRight")
    playing(page)
    assert abs(shade(page) - brightness(7)) < 7
    page.keyboard.press("r")  # again, from the incident's start
    until(page, "Math.abs(player.second - 5.3) < 0.6")
    until(page, "player.second > 8.3")
    until(page, "player.second < 6")  # it loops


def test_the_timeline_seeks_outside_of_the_clip_too(page: Any) -> None:
    box = page.locator("#timeline").bounding_box()
    page.locator("#timeline").click(position={"x": box["width"] * 17.5 / 20, "y": 20})
    until(page, "player.second >= 17 && $('video').readyState >= 3")
    page.evaluate("$('video').pause()")
    page.evaluate("player.seek(17.5)")
    playing(page)
    assert abs(shade(page) - brightness(17)) < 7


def test_filters_narrow_the_queue(page: Any) -> None:
    page.fill("[name=video]", "yard")
    until(page, "state.items.length === 19")
    assert {item["name"] for item in items(page)} == {"Yard.avi"}
    page.fill("[name=from_s]", "0:10")
    page.fill("[name=to_s]", "0:15")
    until(page, "state.items.every((item) => item.start_s >= 10 && item.start_s < 15)")
    page.fill("[name=min_prob]", "0.7")
    until(page, "state.items.length === 1")
    assert "incident 2" in page.inner_text("#facts")
    page.fill("[name=min_prob]", "2")
    until(page, "state.items.length === 0")
    assert page.inner_text("#found") == "no moment matches these filters"


def test_a_filter_that_is_none_is_told(browser: Any, server: str) -> None:
    opened = browser.new_page()
    opened.goto(server)
    until(opened, "state.moment !== null")
    opened.fill("[name=to_s]", "soon")
    until(opened, "$('toast').textContent.includes('to_s=soon is not valid')")
    opened.close()


def test_verdict_by_key_undo_reload_and_find_it(page: Any, server: str) -> None:
    first = page.evaluate("state.moment.id")
    page.keyboard.press("s")
    until(page, f"state.moment.id !== {first}")
    assert "1 suspicious" in page.inner_text("#counts")
    second = page.evaluate("state.moment.id")
    page.keyboard.press("n")
    until(page, f"state.moment.id !== {second}")
    assert page.inner_text("#counts").startswith("2 of 56 reviewed")
    page.keyboard.press("z")
    until(page, f"state.moment.id === {second}")
    assert page.inner_text("#counts").startswith("1 of 56 reviewed")
    page.goto(server)
    until(page, "state.moment !== null")
    assert first not in [item["id"] for item in items(page)]
    page.select_option("[name=shown]", "reviewed")
    until(page, "state.items.length === 1")
    until(page, f"state.moment.id === {first}")
    assert page.locator("[data-answer=suspicious].given").count() == 1
    assert "ann: suspicious" in page.inner_text("#answers")


def test_one_frame_only(page: Any) -> None:
    playing(page)
    page.evaluate("$('video').pause()")
    page.evaluate("player.seek(7.5)")
    playing(page)
    page.keyboard.press("f")
    page.keyboard.press("n")
    until(page, "state.moment.said.length === 1")
    said = page.evaluate("state.moment.said[0]")
    assert (said["start_s"], said["end_s"], said["state"]) == (7, 8, "not")
    assert page.evaluate("state.moment.state") == "unseen"


def test_after_a_few_verdicts_the_queue_is_ordered_anew(page: Any, browser: Any, server: str) -> None:
    for answer in "snsn":
        before = page.evaluate("state.moment.id")
        page.keyboard.press(answer)
        until(page, f"state.moment.id !== {before}")
    until(page, "$('counts').textContent.includes('ranking trained on 4')")
    until(page, "state.items.some((item) => Math.abs(item.now - item.prob2) > 0.05)")
    assert page.evaluate("state.items.slice(0, 4).every((item) => item.state !== 'unseen')"), (
        "they stay above"
    )
    other = browser.new_page()
    other.goto(server)
    until(other, "state.items.length > 0")
    other.fill("#reviewer", "bob")
    other.select_option("[name=shown]", "reviewed")
    until(other, "state.items.length === 4 && state.moment && state.moment.state === 'suspicious'")
    other.keyboard.press("Escape")
    other.click("[data-answer=not]")
    until(other, "$('counts').textContent.includes('1 disputed')")
    other.close()
    until(page, "$('counts').textContent.includes('1 disputed')")


def test_a_new_ranking_opens_the_page_anew(page: Any, output: Path) -> None:
    """Numbers of moments mean others then: no answer may be given by an old one."""
    old = page.evaluate("state.ranking")
    about = json.loads((output / "ranking.json").read_text())
    with page.expect_event("load"):
        (output / "ranking.json").write_text(json.dumps({**about, "model": "def456def456"}))
    until(page, f"state.moment !== null && state.ranking !== '{old}'")
    page.keyboard.press("s")
    until(page, "$('counts').textContent.startsWith('1 of 56')")


def test_the_queue_pages_on_past_what_was_answered(page: Any) -> None:
    """What the server no longer lists must not shift what it lists next."""
    page.evaluate("[...$('queue').children].slice(10).forEach((node) => node.remove())")
    page.evaluate("state.items.length = 10; state.total = 56")
    for _ in range(3):
        before = page.evaluate("state.moment.id")
        page.keyboard.press("n")
        until(page, f"state.moment.id !== {before}")
    page.evaluate("more()")
    until(page, "state.items.length === 56")
    assert len({item["id"] for item in items(page)}) == 56


def test_export(page: Any, tmp_path: Path) -> None:
    page.keyboard.press("s")
    until(page, "$('counts').textContent.includes('1 of 56')")
    with page.expect_download() as download:
        page.click("#export")
    download.value.save_as(tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open() as file:
        [row] = csv.DictReader(file)
    assert (row["start_s"], row["end_s"], row["label"]) == ("5.0", "8.0", "1")
    assert row["video"].endswith("Hall <b>1.mpg")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_sticks_out(browser: Any, server: str, scheme: str) -> None:
    phone = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    phone.goto(server)
    until(phone, "state.moment !== null")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    back, text = (
        sum(map(int, phone.evaluate(f"getComputedStyle(document.body).{name}").strip("rgb()").split(",")))
        for name in ("backgroundColor", "color")
    )
    assert (back > text) == (scheme == "light")
    phone.close()


def test_the_report_needs_no_network(browser: Any, output: Path) -> None:
    from framewatch.report import write_report

    path = write_report(str(output))
    for width in (1280, 390):
        opened = browser.new_page(viewport={"width": width, "height": 800})
        asked: list[str] = []
        opened.on("request", lambda request, asked=asked: asked.append(request.url))
        opened.goto(f"file://{path}")
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert opened.evaluate("[...document.images].every((it) => it.naturalWidth > 0)")
        assert opened.locator("ol.cards li").count() == 3
        assert opened.locator("svg.timeline").count() == 3
        assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
        opened.close()


def test_classes_from_picked_frames_to_clips(page: Any, server: str) -> None:
    """Two classes by clicks, the videos that have them, a clip that plays, and what a reload keeps."""
    page.click("nav a:has-text('Classes')")
    page.wait_for_selector("#classes .name")
    for number, (name, second) in enumerate((("dark", 2), ("bright", 17))):
        if number:
            page.click("#add")
        mine = f"#classes > li:nth-child({number + 1})"
        page.fill(f"{mine} .name", name)
        page.click(f"{mine} .pick")
        for video in ("0", "1"):
            page.select_option("#source", video)
            until(page, f"$('frames').querySelector('img')?.src.includes('frames/{video}/')")
            page.click(f"#frames button:nth-child({second + 1})")
            page.wait_for_selector("#frames button.chosen")
        assert page.locator(f"{mine} .prompts li").count() == 2
    page.fill("#threshold", "60")
    page.fill("#ratio", "0")
    page.click("#run")
    page.wait_for_selector("#found li.current")
    assert page.locator("#found > li").count() == 3
    assert page.locator("#found > li:first-child .scored").count() == 2
    assert "3 videos with a class" in page.inner_text("#status")
    until(page, "view.data !== null && $('video').readyState >= 3")
    page.click("#clips button:has-text('bright')")
    until(page, "$('video').readyState >= 3 && state.clip.start_s > 10")
    assert abs(shade(page) - brightness(17)) < 40
    assert page.get_attribute("#json", "href").endswith("/classifications.json")
    page.reload()
    page.wait_for_selector("#classes .name")
    assert [it.input_value() for it in page.locator("#classes .name").all()] == ["dark", "bright"]
    page.click("#classes > li:first-child .remove")
    assert page.locator("#classes > li").count() == 1


def test_similar_moments_from_the_frame_on_the_screen(page: Any, server: str, output: Path) -> None:
    """Another tab with a grid that plays, and an answer there that counts."""
    pytest.importorskip("pymilvus", reason="pymilvus is missing: pip install 'framewatch[search]'")
    assert main(["index", str(output)]) == 0
    page.click("#queue li")
    until(page, "$('video').readyState >= 3")
    with page.expect_popup() as opened:
        page.click("#similar")
    other = opened.value
    other.wait_for_selector(".hit img")
    assert other.locator(".hit").count() > 2
    until(other, "document.querySelector('.hit img').naturalWidth > 0")
    assert "similarity 1.000" in other.inner_text(".hit >> nth=0")
    other.click(".hit .screen >> nth=0")
    until(other, "document.querySelector('.hit video').readyState >= 3")
    other.click(".hit >> nth=1 >> text=Not")
    other.wait_for_selector(".hit button.given")
    assert [it.answer for it in VerdictLog(str(output)).verdicts()] == ["not"]
    before = other.input_value("#origin")
    other.click(".hit >> nth=2 >> text=Find similar")
    until(other, f"$('origin').value !== {before!r}")
