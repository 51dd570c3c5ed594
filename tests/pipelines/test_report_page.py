"""The report in a real browser: headless Chromium, driven by Selenium."""

import base64
import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from pipelines.reporting import findings as find
from pipelines.reporting import page, plots

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
    path.write_text(page.build(digits_findings, plots.draw(digits_findings), digits.train))
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


def cards(browser):
    """The shown cards' data, in order."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#cards > li')].filter(c => !c.hidden)"
        ".map(c => ({...c.dataset}))"
    )


def choose(browser, selector, value):
    from selenium.webdriver.support.ui import Select

    Select(find_one(browser, selector)).select_by_value(value)


def map_data(browser):
    return json.loads(find_one(browser, "#map-data").get_attribute("textContent"))


def hover(browser, data, i):
    """Moves the mouse to a point of the map."""
    from selenium.webdriver import ActionChains

    canvas = find_one(browser, "#map-canvas")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    side = browser.execute_script("return arguments[0].clientWidth", canvas)
    offset = [MARGIN + (side - 2 * MARGIN) * data[axis][i] / 1e4 - side / 2 for axis in "xy"]
    ActionChains(browser).move_to_element_with_offset(canvas, *map(round, offset)).perform()


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def names(data, i):
    return ", ".join(group["names"][group["of"][i]] for group in data["groups"])


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


def test_clusters_are_sorted(opened):
    assert [int(card["number"]) for card in cards(opened)] == list(range(10))
    for value in ("size 1", "size -1", "spread 1", "spread -1", "purity 1", "purity -1"):
        choose(opened, "#sort", value)
        key, sign = value.split()
        shown = [int(sign) * float(card[key]) for card in cards(opened)]
        assert shown == sorted(shown) and shown[0] < shown[-1]
    for label, value in (("Emptiest", "size 1"), ("Loosest", "spread -1")):
        button = opened.find_element("xpath", f"//button[.='{label}']")
        button.click()
        assert find_one(opened, "#sort").get_attribute("value") == value
        assert button.get_attribute("aria-pressed") == "true"
        key, sign = value.split()
        shown = [int(sign) * float(card[key]) for card in cards(opened)]
        assert shown == sorted(shown)


def test_clusters_are_found(opened):
    search, status = find_one(opened, "#search"), find_one(opened, "#card-status")
    assert status.text == "10 of 10 clusters"
    for typed in ("3", "cluster 3", "#3"):
        search.clear()
        search.send_keys(typed)
        found = cards(opened)
        assert 0 < len(found) < 10 and status.text == f"{len(found)} of 10 clusters"
        assert "3" in {card["number"] for card in found}
        assert all(c["number"] == "3" or "3" in c["classes"].split(", ") for c in found)
    search.clear()
    search.send_keys("no such class")
    assert cards(opened) == [] and status.text == "0 of 10 clusters"
    # A link to a cluster brings it back.
    opened.execute_script("location.hash = 'cluster-7'")
    assert find_one(opened, "#cluster-7").is_displayed() and len(cards(opened)) == 10


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
    choose(opened, "#map-pick", largest)
    picked = picture()
    choose(opened, "#map-draw", "images")
    images = picture()
    pictures = (by_label, by_cluster, picked, images)
    assert [pictures.index(each) for each in pictures] == [0, 1, 2, 3]
    options = opened.execute_script(
        "return [...document.getElementById('map-pick').options].map(o => o.text)"
    )
    assert options == ["any cluster", *(f"cluster {i}" for i in range(10))]
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
        "return [box.x, box.y, box.width]"
    )
    x, y = (
        start + MARGIN + (place[2] - 2 * MARGIN) * data[axis][900] / 1e4
        for start, axis in zip(place, "xy", strict=False)
    )
    touch = {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
    opened.execute_cdp_cmd("Input.dispatchTouchEvent", touch)
    opened.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert find_one(opened, "#map-tip").is_displayed()


def test_every_control_has_a_name_and_is_reached_by_tab(opened):
    from selenium.webdriver import Keys

    for control in opened.find_elements("css selector", "main select, main input, main button"):
        assert control.accessible_name
    reached = set()
    for _ in range(60):
        opened.switch_to.active_element.send_keys(Keys.TAB)
        reached.add(opened.switch_to.active_element.get_attribute("id"))
    assert reached >= {"map-group", "map-pick", "map-draw", "map-canvas", "sort", "search"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling_and_the_scheme_is_followed(browser, path, scheme):
    show(browser, path, width=360, scheme=scheme)
    for details in browser.find_elements("css selector", "details"):
        browser.execute_script("arguments[0].open = true", details)
    page_width, window = browser.execute_script(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
    )
    assert page_width <= window <= 360
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
        for selector in ("#cluster-0 img", "#plot-similarity svg", ".scores", ".neighbours img"):
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
    path.write_text(page.build(hostile, plots.draw(hostile), digits.train))
    show(browser, path)
    assert browser.get_log("browser") == []
    assert not browser.find_elements("css selector", "#injected, img[src=x], h1 i")
    assert find_one(browser, "h1").text == "<i>run</i>"
    options = find_one(browser, "#map-pick").text
    assert all(name in options for name in HOSTILE)
    find_one(browser, "#search").send_keys("</SCRIPT>")
    found = cards(browser)
    assert found and all(HOSTILE[0] in card["classes"] for card in found)


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
    clusters = find.describe_clusters(z, centroids, split.labels, 100)
    queries = find.choose_queries(100_000, split.labels)
    neighbours, similarities = find.nearest_neighbours(z, queries)
    findings = dataclasses.replace(
        digits_findings,
        labels=split.labels,
        class_names=cifar.class_names,
        clusters=clusters,
        mapped=np.sort(rng.permutation(100_000)[:5000]),
        xy=rng.uniform(size=(5000, 2)),
        queries=queries,
        neighbours=neighbours,
        neighbour_similarities=similarities,
        count=100_000,
    )
    path = tmp_path / "index.html"
    path.write_text(page.build(findings, plots.draw(findings), split))
    size = path.stat().st_size
    print(f"{size / 1e6:.1f} MB")
    assert size < 15e6
    show(browser, path)
    assert len(cards(browser)) == 1000
    browser.find_element("xpath", "//button[.='Emptiest']").click()
    sizes = [int(card["size"]) for card in cards(browser)]
    assert sizes == sorted(sizes) and sum(sizes) == 100_000
    find_one(browser, "#search").send_keys("apple")
    found = cards(browser)
    assert 0 < len(found) < 1000 and all("apple" in card["classes"] for card in found)
    data = map_data(browser)
    hover(browser, data, 2500)
    assert find_one(browser, "#map-tip").is_displayed()
    assert browser.get_log("browser") == []
