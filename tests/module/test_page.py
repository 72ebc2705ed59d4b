"""The plain page in Chromium, served by the shipped sample configuration."""

import datetime
import os

import pytest

from stack import conf, place
from summary_rows import NOON

HTML = os.path.join(place.ROOT, "conf", "html")


@pytest.fixture
def site(nginx, topic, rows, place_of):
    html = os.path.join(place_of, "html")
    os.mkdir(html)
    for name in os.listdir(HTML):
        with open(os.path.join(HTML, name)) as f:
            text = f.read()
        with open(os.path.join(html, name), "w") as f:
            f.write(text)
    server = conf.edit(
        conf.sample("sluice.conf"),
        (r"sluice_upload .*", "sluice_upload main topic=@TOPIC@;"),
        (r"root .*", "root %s;" % html))
    http = conf.edit(
        conf.sample("nginx/sluice-http.conf"),
        (r"bootstrap\.servers .*", "bootstrap.servers @KAFKA@;"),
        (r"sluice_postgres .*", 'sluice_postgres "@POSTGRES@";'))
    return nginx(server, http="include /etc/nginx/mime.types;\n" + http)


@pytest.fixture
def browser(place_of):
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    started = []

    def start(javascript=True):
        o = Options()
        for a in ("--headless=new", "--no-sandbox", "--disable-gpu",
                  "--disable-dev-shm-usage", "--window-size=1000,800",
                  "--user-data-dir=%s/chrome-%d" % (place_of, len(started))):
            o.add_argument(a)
        o.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        if not javascript:
            o.add_experimental_option("prefs", {
                "profile.managed_default_content_settings.javascript": 2})
        started.append(webdriver.Chrome(
            options=o, service=Service("/usr/bin/chromedriver")))
        return started[-1]

    yield start
    for b in started:
        b.quit()


def table(browser):
    return [[cell.text for cell in row.find_elements("tag name", "td")]
            for row in browser.find_elements("css selector", "#rows tr")]


def complaints(browser):
    # a page without an icon is asked for one
    return [e["message"] for e in browser.get_log("browser")
            if e["level"] in ("SEVERE", "WARNING")
            and "favicon.ico" not in e["message"]]


def test_the_page_shows_the_summary_and_follows_it(site, rows, browser,
                                                   until):
    b = browser()
    b.get(site.url + "/")
    status = b.find_element("id", "status")
    until(lambda: status.text == "No files yet.", 20)

    rows.add("one.jpg", count=2, size=1500)
    until(lambda: len(table(b)) == 1, 20)
    cells = table(b)[0]
    assert cells[:4] == ["one.jpg", "2", "1.5 kB", "image/jpeg"]
    assert cells[5] == "closed"
    assert status.text == ""

    rows.add("two.jpg", window=NOON + datetime.timedelta(seconds=30),
             final=False)
    until(lambda: [r[0] for r in table(b)] == ["two.jpg", "one.jpg"], 20)
    assert table(b)[0][5] == "open, counting"
    assert complaints(b) == []


def test_a_name_is_text_on_the_page(site, rows, browser, until):
    name = "<img src=x onerror=\"document.title='x'\">&amp;.jpg"
    rows.add(name)
    b = browser()
    b.get(site.url + "/")
    until(lambda: table(b) and table(b)[0][0] == name, 20)
    assert b.title == "Upload files"
    assert b.find_elements("css selector", "#rows img") == []
    assert complaints(b) == []


def test_more_rows_are_shown_on_demand(site, rows, browser, until):
    for i in range(130):
        rows.add("f%d.jpg" % i)
    b = browser()
    b.get(site.url + "/")
    until(lambda: len(b.find_elements("css selector", "#rows tr")) == 100, 20)
    b.find_element("id", "more").click()
    until(lambda: len(b.find_elements("css selector", "#rows tr")) == 130, 20)
    assert not b.find_element("id", "more").is_displayed()


@pytest.mark.parametrize("javascript", [True, False])
def test_the_form_posts_several_files_and_comes_back(site, kafka, topic,
                                                     images, browser,
                                                     javascript):
    names = sorted(n for n in os.listdir(images)
                   if n.endswith((".jpg", ".png")))[:3]
    assert len(names) == 3
    b = browser(javascript)
    b.get(site.url + "/")
    b.find_element("id", "files").send_keys(
        "\n".join(os.path.join(images, n) for n in names))
    b.find_element("css selector", "form button").click()
    records = kafka.wait_records(topic, 3)
    assert sorted(r.headers["ce_subject"] for r in records) == names
    assert b.current_url == site.url + "/"
    assert b.find_element("tag name", "h1").text == "Upload files"


def test_without_javascript_the_summary_is_linked(site, browser):
    b = browser(javascript=False)
    b.get(site.url + "/")
    b.find_element("link text", "See the summary as JSON").click()
    assert b.current_url == site.url + "/summary"
    assert '"files"' in b.page_source


def test_it_fits_a_phone(site, rows, browser, until):
    rows.add("n" * 120 + ".jpg")
    b = browser()
    b.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": 360, "height": 640, "deviceScaleFactor": 2, "mobile": True})
    b.get(site.url + "/")
    until(lambda: table(b), 20)
    assert b.execute_script(
        "return document.documentElement.scrollWidth") <= 360
