"""The pages in a real browser: headless Chromium, driven by Selenium."""

import base64
import dataclasses
import io
import json
import shutil

import embedded_digits
import numpy as np
import pytest
from PIL import Image

from cueco_tf.clustering.describe import describe
from pipelines import clusters
from pipelines.reporting import findings as find
from pipelines.reporting import page, plots, sections
from pipelines.reporting.thumbnails import SplitPictures

HOSTILE = ("</script><b id='injected'>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "a & b")
MARGIN = 24  # pixels around the map, as in page.js


@pytest.fixture(scope="module")
def browser():
    """Chromium with its console and its requests on record."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium and chromedriver are not on this machine's PATH")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def path(digits_findings, digits, tmp_path_factory):
    """The page of the digits run, on disk."""
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(
        page.build(digits_findings, plots.draw(digits_findings), SplitPictures(digits.train))
    )
    return path


def show(browser, path, width=1200, scheme="light", scripts=True):
    """Opens a page anew."""
    command = browser.execute_cdp_cmd
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    command("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    command("Emulation.setEmulatedMedia", {"features": [feature]})
    command("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(path.as_uri())


@pytest.fixture
def opened(browser, path):
    """The digits report on a wide, light screen, and no error left behind by a test."""
    show(browser, path)
    yield browser
    assert browser.get_log("browser") == []


def find_one(browser, selector):
    return browser.find_element("css selector", selector)


def wait_without(browser, selector):
    """Waits until nothing is there any more."""
    from selenium.webdriver.support.ui import WebDriverWait

    gone = lambda _: not browser.find_elements("css selector", selector)  # noqa: E731
    WebDriverWait(browser, 10).until(gone)


def cards(browser):
    """The shown cards' data, in order."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#cards > li')].filter(c => !c.hidden)"
        ".map(c => ({...c.dataset}))"
    )


def members(browser):
    """The names that are listed of each cluster's images."""
    text = find_one(browser, "#members-data").get_attribute("textContent")
    return json.loads(text)["of"]


def choose(browser, selector, value):
    from selenium.webdriver.support.ui import Select

    Select(find_one(browser, selector)).select_by_value(value)


def map_data(browser):
    return json.loads(find_one(browser, "#map-data").get_attribute("textContent"))


def offset(data, i, width):
    """Where a point of a map of some width lies, from the middle of its canvas."""
    unit = (width - 2 * MARGIN) / 1e4
    return [round(unit * (data[axis][i] - max(data[axis]) / 2)) for axis in "xy"]


def hover(browser, data, i):
    """Moves the mouse to a point of the map."""
    from selenium.webdriver import ActionChains

    canvas = find_one(browser, "#map-canvas")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    width = browser.execute_script("return arguments[0].clientWidth", canvas)
    place = offset(data, i, width)
    ActionChains(browser).move_to_element_with_offset(canvas, *place).perform()


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def names(data, i):
    own = (group["names"][group["of"][i]] for group in data["groups"])
    return ", ".join([data["names"][i], *own])


def test_it_opens_from_disk_without_an_error_or_a_request(browser, path):
    show(browser, path)
    asked = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert browser.get_log("browser") == []
    assert browser.title == "digits: report of a CueCo run"
    broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    browser.execute_script("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
    assert browser.execute_async_script(
        "const done = arguments[0];"
        "Promise.all([...document.images].map(i => i.decode())).then(() => done(true), done)"
    )
    assert browser.execute_script(broken) == 0


def test_clusters_are_sorted(opened, digits_findings):
    sizes = [int(card["size"]) for card in cards(opened)]
    used = digits_findings.clusters.sizes
    assert sizes == sorted(used[used > 0], reverse=True)
    for value in (
        "number 1",
        "alike 1",
        "size 1",
        "size -1",
        "spread 1",
        "spread -1",
        "purity 1",
        "purity -1",
    ):
        choose(opened, "#sort", value)
        key, sign = value.split()
        shown = [int(sign) * float(card[key]) for card in cards(opened)]
        assert shown == sorted(shown) and shown[0] < shown[-1]
    for label, value in (("Smallest", "size 1"), ("Loosest", "spread -1")):
        button = opened.find_element("xpath", f"//button[.='{label}']")
        button.click()
        assert find_one(opened, "#sort").get_attribute("value") == value
        assert button.get_attribute("aria-pressed") == "true"
        key, sign = value.split()
        shown = [int(sign) * float(card[key]) for card in cards(opened)]
        assert shown == sorted(shown)


def test_clusters_are_found(opened):
    search, status = find_one(opened, "#search"), find_one(opened, "#card-status")
    used = len(cards(opened))
    assert status.text == f"{used} of {used} clusters"
    for typed in ("3", "cluster 3"):
        search.clear()
        search.send_keys(typed)
        found = cards(opened)
        assert 0 < len(found) <= used and status.text == f"{len(found)} of {used} clusters"
        listed = members(opened)
        assert all(
            c["number"] == "3"
            or "3" in c["classes"].split(", ")
            or any("3" in name for name in listed[c["number"]])
            for c in found
        )
    search.clear()
    search.send_keys("no such class")
    assert cards(opened) == [] and status.text == f"0 of {used} clusters"
    # The name of a file finds the cluster that it is in.
    number, names = next(iter(members(opened).items()))
    search.clear()
    search.send_keys(names[-1])
    assert number in {card["number"] for card in cards(opened)}
    search.clear()
    search.send_keys("no such class")
    # A link to a cluster brings it back.
    opened.execute_script(f"location.hash = 'cluster-{number}'")
    assert find_one(opened, f"#cluster-{number}").is_displayed() and len(cards(opened)) == used


def test_all_images_of_a_cluster_are_shown_by_keyboard_and_given_back(opened):
    from selenium.webdriver import Keys

    card = cards(opened)[0]
    listed = members(opened)[card["number"]]
    assert len(listed) == int(card["size"]) > 8
    button = find_one(opened, f"[data-members='{card['number']}']")
    assert button.text == f"All {card['size']}"
    button.send_keys(Keys.ENTER)
    dialog = find_one(opened, "#members")
    assert dialog.is_displayed() and dialog.accessible_name.endswith(f"{card['size']} images")
    opened.execute_script("arguments[0].scrollTop = 1e6", dialog)
    shown = dialog.find_elements("css selector", ".sheet li")
    assert [item.text for item in shown] == listed[: len(shown)] and len(shown) > 100
    # What is shown under a name is that image: here the first of the second row.
    at = opened.execute_script(
        "const s = getComputedStyle(arguments[0].querySelector('.cell'));"
        "return [s.backgroundPositionX, s.backgroundPositionY, s.backgroundSize]",
        shown[5],
    )
    sheet = find_one(opened, f"#cluster-{card['number']} .sheet")
    columns, rows = (int(sheet.get_attribute(f"data-{name}")) for name in ("columns", "rows"))
    assert float(at[0][:-1]) == pytest.approx(100 * 1 / (columns - 1), abs=0.01)
    assert float(at[1][:-1]) == pytest.approx(100 * 1 / (rows - 1), abs=0.01)
    assert at[2] == f"{100 * columns}% {100 * rows}%"
    dialog.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed() and opened.switch_to.active_element == button


def test_names_stand_beside_the_images_and_do_not_overlap(browser, path):
    for width in (1200, 390):
        show(browser, path, width=width)
        boxes = browser.execute_script(
            "return [...document.querySelectorAll('#cards .sheet li')].slice(0, 40).map(e => {"
            "const b = e.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]})"
        )
        boxes = np.array(boxes)
        left, top, right, bottom = boxes[:, :, None].transpose(1, 0, 2)
        across = np.minimum(right, right.T) - np.maximum(left, left.T)
        down = np.minimum(bottom, bottom.T) - np.maximum(top, top.T)
        overlap = (across > 0.5) & (down > 0.5) & ~np.eye(len(boxes), dtype=bool)
        assert not overlap.any() and right.max() <= width
        item = find_one(browser, "#cards .sheet li")
        assert item.text == item.get_attribute("title").rpartition("/")[2] != ""
    assert browser.get_log("browser") == []


def test_hovering_shows_the_image_and_its_names(opened):
    data = map_data(opened)
    whole = decoded(data["sprites"])
    side = data["side"]
    for i in (0, 700, 1436):
        hover(opened, data, i)
        tip = find_one(opened, "#map-tip")
        assert tip.is_displayed()
        said = tip.text.strip()
        # Another point may lie within half a pixel: then it is shown.
        place = np.array([data["x"], data["y"]]).T
        near = np.flatnonzero(np.abs(place - place[i]).max(axis=1) < 30)
        shown = decoded(
            opened.execute_script("return document.querySelector('#map-tip canvas').toDataURL()")
        )
        differences = {}
        for j in near:
            top, left = (side * n for n in divmod(int(j), data["columns"]))
            sprite = whole[top : top + side, left : left + side, :3].astype(int)
            differences[int(j)] = np.abs(shown[..., :3] - sprite).mean()
        best = min(differences, key=differences.get)
        assert differences[best] < 3 and said == names(data, best)
    find_one(opened, "h1").click()
    assert not find_one(opened, "#map-tip").is_displayed()


def test_the_keyboard_walks_the_map_and_says_where_it_is(opened):
    from selenium.webdriver import Keys

    data = map_data(opened)
    canvas, status = find_one(opened, "#map-canvas"), find_one(opened, "#map-status")
    assert status.get_attribute("aria-live") == "polite"
    place = np.array([data["x"], data["y"]], float)  # (2, points)
    steps = {
        Keys.ARROW_RIGHT: (1, 0),
        Keys.ARROW_UP: (0, -1),
        Keys.ARROW_LEFT: (-1, 0),
        Keys.ARROW_DOWN: (0, 1),
    }
    canvas.send_keys(Keys.ARROW_RIGHT)  # to the middle of the map
    current = int(status.get_attribute("textContent").split()[1]) - 1
    for key in (*steps, Keys.ARROW_RIGHT):
        canvas.send_keys(key)
        said = status.get_attribute("textContent")
        # The nearest of the points that lie more in the key's direction than aside of it.
        offset = place - place[:, [current]]
        ahead, aside = steps[key] @ offset, np.abs(steps[key][::-1] @ offset)
        distance = np.where((ahead > 0) & (aside <= ahead), np.hypot(*offset), np.inf)
        current = int(said.split()[1]) - 1
        assert said == f"Point {current + 1} of 1437: {names(data, current)}"
        assert np.isfinite(distance[current])
        np.testing.assert_allclose(distance[current], distance.min(), rtol=1e-9)
    assert find_one(opened, "#map-tip").is_displayed()
    canvas.send_keys(Keys.ESCAPE)
    assert not find_one(opened, "#map-tip").is_displayed()


def test_the_map_is_coloured_by_label_or_cluster_and_one_can_be_picked_out(opened):
    def picture():
        return opened.execute_script("return document.getElementById('map-canvas').toDataURL()")

    largest = max(cards(opened), key=lambda card: int(card["size"]))["number"]
    by_label = picture()
    choose(opened, "#map-group", "1")
    by_cluster = picture()
    options = opened.execute_script(
        "return [...document.getElementById('map-pick').options].map(o => [o.text, o.value])"
    )
    choose(opened, "#map-pick", dict(options)[f"cluster {largest}"])
    picked = picture()
    choose(opened, "#map-draw", "points")
    images = picture()
    pictures = (by_label, by_cluster, picked, images)
    assert [pictures.index(each) for each in pictures] == [0, 1, 2, 3]
    used = sorted(int(card["number"]) for card in cards(opened))
    assert [text for text, _ in options] == ["any cluster", *(f"cluster {i}" for i in used)]
    # Only what is picked out is walked through.
    from selenium.webdriver import Keys

    find_one(opened, "#map-canvas").send_keys(Keys.ARROW_RIGHT)
    said = find_one(opened, "#map-status").get_attribute("textContent")
    assert said.endswith(f", cluster {largest}")


def test_tapping_shows_the_image(opened):
    data = map_data(opened)
    hover(opened, data, 5)  # scrolls there
    opened.execute_script("document.activeElement.blur()")
    place = opened.execute_script(
        "const box = document.getElementById('map-canvas').getBoundingClientRect();"
        "return [box.x, box.y, box.width, box.height]"
    )
    right, down = offset(data, 900, place[2])
    x, y = place[0] + place[2] / 2 + right, place[1] + place[3] / 2 + down
    touch = {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
    opened.execute_cdp_cmd("Input.dispatchTouchEvent", touch)
    opened.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert find_one(opened, "#map-tip").is_displayed()


def test_every_control_has_a_name_and_is_reached_by_tab(opened):
    from selenium.webdriver import Keys

    for control in opened.find_elements("css selector", "main select, main input, main button"):
        assert control.accessible_name or not control.is_displayed()
    reached = set()
    for _ in range(90):
        opened.switch_to.active_element.send_keys(Keys.TAB)
        reached.add(opened.switch_to.active_element.get_attribute("id"))
    assert reached >= {"map-group", "map-pick", "map-draw", "map-canvas", "sort", "search"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling_and_the_scheme_is_followed(browser, path, scheme):
    show(browser, path, width=390, scheme=scheme)
    for details in browser.find_elements("css selector", "details"):
        browser.execute_script("arguments[0].open = true", details)
    page_width, window = browser.execute_script(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
    )
    assert page_width <= window <= 390
    ground, text = browser.execute_script(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    )
    lightness = [int(colour[4:].split(",")[0]) for colour in (ground, text)]
    assert (lightness[0] > 200 > 60 > lightness[1]) == (scheme == "light")
    assert (lightness[1] > 200 > 60 > lightness[0]) == (scheme == "dark")
    plot = "return getComputedStyle(document.querySelector('#plot-losses text')).fill"
    assert browser.execute_script(plot) not in ("rgb(0, 0, 0)", ground)


def test_without_scripts_all_but_the_map_is_there(browser, path):
    show(browser, path, scripts=False)
    try:
        shown = find_one(browser, "noscript .note").is_displayed()
        assert shown and "map.png" in find_one(browser, "noscript").text
        for selector in ("#cards .cell", "#plot-similarity svg", ".scores", ".neighbours img"):
            assert find_one(browser, selector).is_displayed()
        for selector in ("#card-controls", "#map-area"):
            assert not find_one(browser, selector).is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_hostile_names_are_only_names(browser, digits_findings, digits, tmp_path):
    hostile = dataclasses.replace(
        digits_findings, name="<i>run</i>", class_names=(HOSTILE * 3)[:10]
    )
    path = tmp_path / "index.html"
    path.write_text(page.build(hostile, plots.draw(hostile), SplitPictures(digits.train)))
    show(browser, path)
    assert browser.get_log("browser") == []
    assert not browser.find_elements("css selector", "#injected, img[src=x], h1 i")
    assert find_one(browser, "h1").text == "<i>run</i>"
    options = find_one(browser, "#map-pick").text
    assert all(name in options for name in HOSTILE)
    find_one(browser, "#search").send_keys("</SCRIPT>")
    found = cards(browser)
    assert found and all(HOSTILE[0] in card["classes"] for card in found)


def test_the_page_of_clusters_finds_the_image_files_and_lists_odd_ones(
    browser, tmp_path, monkeypatch
):
    """Beyond the pictures in the page, the images themselves are shown where they lie."""
    monkeypatch.setattr(sections, "_MOST_PICTURES", 8)
    file, output = embedded_digits.make(tmp_path, 120), tmp_path / "a place" / "out"
    output.parent.mkdir()
    arguments = [file, "--count", 5, "--other", "--output", output]
    assert clusters.main([str(argument) for argument in arguments]) == 0
    for width in (1200, 390):
        show(browser, output / "index.html", width=width)
        shown = cards(browser)
        sizes = [int(card["size"]) for card in shown if card["number"] != "-1"]
        assert len(sizes) == 5 and sizes == sorted(sizes, reverse=True)
        assert shown[-1]["number"] == "-1"
        # The map is as high as its images lie, from half as high as wide to a square.
        frame = browser.execute_script(
            "const map = document.getElementById('map-canvas');"
            "return [map.clientWidth, map.clientHeight]"
        )
        lie = max(map_data(browser)["y"]) / 1e4 * (frame[0] - 2 * MARGIN) + 2 * MARGIN
        assert frame[1] == pytest.approx(max(lie, frame[0] / 2), abs=2)
        find_one(browser, f"[data-members='{shown[0]['number']}']").click()
        loaded = browser.execute_async_script(
            "const done = arguments[0]; const all = [...document.querySelectorAll('#members img')];"
            "all.forEach(i => i.loading = 'eager');"
            "Promise.all(all.map(i => i.decode())).then(() => done(all.map(i => i.naturalWidth)),"
            "e => done(String(e)))"
        )
        assert loaded == [16] * (sizes[0] - 8)
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
        # One that is gone leaves its name.
        name = members(browser)[shown[0]["number"]][-1]
        kept = (tmp_path / "photos" / name).read_bytes()
        (tmp_path / "photos" / name).unlink()
        show(browser, output / "index.html", width=width)
        find_one(browser, f"[data-members='{shown[0]['number']}']").click()
        last = "#members .sheet li:last-child"
        browser.execute_script(f"document.querySelector('{last}').scrollIntoView()")
        wait_without(browser, f"{last} img")
        assert find_one(browser, last).text == name
        (tmp_path / "photos" / name).write_bytes(kept)
        browser.get_log("browser")


@pytest.mark.slow
def test_a_hundred_thousand_images_and_a_thousand_clusters_stay_usable(
    browser, digits_findings, cifar, tmp_path
):
    """Real images, each twice, in clusters of their own colours; the largest report there is."""
    split = cifar.train.take(np.arange(100_000) % 50_000)
    rng = np.random.default_rng(0)
    small = split.images[:, ::8, ::8].reshape(100_000, -1) / 255 - 0.5
    z = find.normalize(small + 1e-3 * rng.normal(size=small.shape))
    centroids = z[rng.permutation(100_000)[:1000]]
    clusters = describe(z, centroids)
    queries = find.choose_queries(100_000, split.labels)
    neighbours, similarities = find.nearest_neighbours(z, queries)
    findings = dataclasses.replace(
        digits_findings,
        names=[f"photos/2026/holiday/image_{i:06d}.jpg" for i in range(100_000)],
        labels=split.labels,
        class_names=cifar.class_names,
        clusters=clusters,
        mapped=np.sort(rng.permutation(100_000)[:5000]),
        xy=rng.uniform(size=(5000, 2)),
        queries=queries,
        neighbours=neighbours,
        neighbour_similarities=similarities,
        pairs=find.Pairs(
            np.zeros((100_000, 1), int),
            np.ones((100_000, 1)),
            0.99,
            [np.arange(i, i + 8) for i in range(24)],
            np.arange(24),
        ),
    )
    path = tmp_path / "index.html"
    path.write_text(page.build(findings, plots.draw(findings), SplitPictures(split)))
    size = path.stat().st_size
    print(f"{size / 1e6:.1f} MB")
    assert size < 15e6
    show(browser, path)
    assert len(cards(browser)) == 1000
    browser.find_element("xpath", "//button[.='Smallest']").click()
    sizes = [int(card["size"]) for card in cards(browser)]
    assert sizes == sorted(sizes) and sum(sizes) == 100_000
    find_one(browser, "#search").send_keys("apple")
    found = cards(browser)
    assert 0 < len(found) < 1000 and all("apple" in card["classes"] for card in found)
    data = map_data(browser)
    hover(browser, data, 2500)
    assert find_one(browser, "#map-tip").is_displayed()
    assert browser.get_log("browser") == []
