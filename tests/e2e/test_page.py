"""The page as a person sees it: Chromium, a form, a table."""

import hashlib
import os

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.by import By

from stack import quickstart as script
from stack import wait


@pytest.fixture(params=["on", "off"], ids=["with-script", "without-script"])
def browser(request, place_of):
    options = webdriver.ChromeOptions()
    for flag in ("--headless", "--no-sandbox", "--disable-gpu",
                 "--disable-quic", "--no-first-run",
                 "--disable-background-networking",
                 "--disable-component-update", "--disable-sync",
                 "--window-size=1100,1400",
                 "--user-data-dir=" + os.path.join(place_of, "chromium")):
        options.add_argument(flag)
    if request.param == "off":
        options.add_experimental_option(
            "prefs", {"profile.managed_default_content_settings.javascript":
                      2})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(service=Driver("/usr/bin/chromedriver"),
                              options=options)
    driver.has_script = request.param == "on"
    yield driver
    driver.quit()


def chosen(directory):
    """The files of ./quickstart --once, as files under their names."""
    files, truth = script.test_set()
    os.makedirs(directory)
    paths = []
    for name, data in files:
        path = os.path.join(directory, name)
        with open(path, "wb") as f:
            f.write(data)
        paths.append(path)
    return paths, truth


def rows(driver):
    """{name: count} as the table shows it."""
    return dict((cells[0], int(cells[1])) for cells in (
        [cell.text for cell in row.find_elements(By.TAG_NAME, "td")]
        for row in driver.find_elements(By.CSS_SELECTOR, "tbody tr"))
        if len(cells) > 1 and cells[1].isdigit())


def test_form_of_20_images_shows_12_rows(quickstart, browser, place_of):
    q = quickstart()
    q.start(300)
    env = q.env()
    paths, truth = chosen(os.path.join(place_of, "images"))
    script.at_window_start()

    browser.get(env["PAGE_URL"])
    browser.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(
        "\n".join(paths))
    browser.find_element(By.CSS_SELECTOR, "[type=submit]").click()

    if browser.has_script:
        wait.until(lambda: sum(rows(browser).values()) == len(paths), 60,
                   "the table of %d uploads" % len(paths))
        assert len(rows(browser)) == len(truth)
        assert sorted(rows(browser).items()) == sorted(truth.values())
        severe = [e for e in browser.get_log("browser")
                  if e["level"] == "SEVERE" and "favicon" not in e["message"]]
        assert not severe
    else:
        # The server has sent the browser back to the page.
        wait.until(lambda: browser.current_url == env["PAGE_URL"], 60,
                   "the page after the form")

    def stored():
        names = [n for _, _, files in os.walk(os.path.realpath(env["STORE"]))
                 for n in files]
        return len(names) == len(truth)
    wait.until(stored, 60, "%d objects" % len(truth))
    for directory, _, names in os.walk(os.path.realpath(env["STORE"])):
        for name in names:
            with open(os.path.join(directory, name), "rb") as f:
                assert hashlib.sha256(f.read()).hexdigest() == \
                    name.split(".")[0]
