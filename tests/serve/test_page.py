"""The page, used with real clicks and keys in a headless Chromium, where one and selenium are installed."""

import json
import shutil
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from test_desk import StandIn, config

from housebrain_core.house import codec, synthetic
from housebrain_core.serve.app import EXAMPLES, make_app
from housebrain_core.serve.desk import Desk
from housebrain_core.serve.server import Server
from housebrain_core.serve.serving import bind

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
TOKEN = "a-token-of-some-length"
PHONE = 390
"""Pixels across a phone."""


class Site(NamedTuple):
    """A server on the loopback, and its model."""

    url: str
    model: StandIn


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A headless Chromium; each test opens its page anew."""
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("Chromium or its driver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    made = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield made
    made.quit()


def sample() -> dict:
    """What the page's second example is made from."""
    return next(synthetic.make_samples(EXAMPLES, seed=0))


@pytest.fixture
def site(request) -> Iterator[Site]:
    """A server whose model knows the second example; a token is needed where a test asks for that."""
    model = StandIn(codec.encode(sample()).completion)
    desk = Desk(model, config())
    with bind("127.0.0.1", 0) as listening:
        started = threading.Event()
        server = Server(make_app(desk, [], getattr(request, "param", None)), desk, started.set)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        assert started.wait(30)
        yield Site(f"http://127.0.0.1:{listening.getsockname()[1]}/", model)
        model.gate.set()
        server.should_exit = True
        thread.join()


def is_shown(element) -> bool:
    return element.is_displayed()


class Person:
    """Somebody before the page."""

    def __init__(self, browser, site: Site, width: int = 1100) -> None:
        self.browser = browser
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get(site.url)

    def find(self, name: str):
        return self.browser.find_element("css selector", name)

    def wait_for(self, name: str):
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(self.browser, 30, 0.05)
        return waiting.until(lambda _: next(filter(is_shown, self.browser.find_elements("css selector", name)), None))

    def choose(self, name: str, number: int) -> None:
        self.find(f"{name} option:nth-of-type({number})").click()

    def write(self, name: str, text: str) -> None:
        self.find(name).clear()
        self.find(name).send_keys(text)

    def focused(self) -> str:
        return self.browser.switch_to.active_element.get_attribute("id")

    def shown_json(self) -> dict:
        return json.loads(self.find("#json").get_attribute("textContent"))


def test_an_example_gives_the_drawn_plan_the_rule_checks_and_downloads(browser, site):
    person = Person(browser, site)
    person.choose("#example", 2)
    person.find("#design").click()
    person.wait_for("#result")
    assert person.shown_json() == sample()["output"]
    assert person.focused() == "result-heading" and "rules that apply are kept" in person.find("#kept").text
    loaded = "const plan = document.getElementById('plan'); return plan.decode().then(() => plan.naturalWidth)"
    assert browser.execute_script(loaded) > 300 and "bedroom" in person.find("#plan").get_attribute("alt")
    for name in ("#save-json", "#save-svg"):
        link = person.find(name)
        assert link.get_attribute("href").startswith("blob:") and link.get_attribute("download")
    assert browser.get_log("browser") == []


def test_the_form_is_filled_in_and_sent_with_the_keyboard_alone(browser, site):
    from selenium.webdriver.common.keys import Keys

    person = Person(browser, site)
    person.find("#area").send_keys(Keys.CONTROL + "a")
    person.find("#area").send_keys("950", Keys.TAB, Keys.NULL)
    assert person.focused() == "unit"
    person.find("#add-room").send_keys(Keys.ENTER)
    for text in ("kitchen", "1", "80"):
        browser.switch_to.active_element.send_keys(text, Keys.TAB)
    person.find("#style").send_keys(Keys.ENTER)
    person.wait_for("#result")
    echo = person.shown_json()["input"]
    assert echo["basicDetails"]["totalArea"] == 950
    assert echo["roomBreakdown"] == [{"type": "kitchen", "count": 1, "minArea": 80}]


def test_while_it_designs_there_is_progress_and_a_way_to_stop_waiting(browser, site):
    site.model.gate.clear()
    person = Person(browser, site)
    person.find("#design").click()
    person.wait_for("#progress")
    assert not person.find("#design").is_enabled()
    person.wait_for("#cancel").click()
    assert person.wait_for("#design:enabled") and person.find("#status").text == "You stopped waiting."


def test_a_bad_brief_is_said_at_the_field_and_the_first_one_is_focused(browser, site):
    person = Person(browser, site)
    person.write("#front", "100")
    person.write("#bedrooms", "-1")
    person.find("#design").click()
    assert "basicDetails.bedrooms = -1" in person.wait_for("#problems ul").text
    assert person.focused() == "bedrooms" and person.find("#bedrooms").get_attribute("aria-invalid") == "true"
    person.write("#bedrooms", "2")
    person.find("#design").click()
    person.wait_for("#front[aria-invalid]")
    assert "leave nothing of the plot" in person.find("#problems ul").text and person.focused() == "front"
    assert not person.find("#result").is_displayed() and site.model.most == 0


def test_an_answer_that_is_no_design_is_shown_as_text_and_runs_nothing(browser, site):
    site.model.texts = ["<img src=x onerror=alert(1)><b>no house</b>"]
    person = Person(browser, site)
    person.find("#design").click()
    person.wait_for("#failure")
    assert person.find("#raw").text == site.model.texts[0] and "no_json" in person.find("#failure-text").text
    assert browser.find_elements("css selector", "#failure img") == [] and not person.find("#result").is_displayed()


@pytest.mark.parametrize("site", [TOKEN], indirect=True)
def test_a_token_is_typed_into_the_page_and_stays_out_of_its_address(browser, site):
    person = Person(browser, site)
    person.wait_for("#token").send_keys("wrong")
    person.find("#design").click()
    assert "token is missing or wrong" in person.wait_for("#failure-text").text
    person.write("#token", TOKEN)
    person.find("#design").click()
    person.wait_for("#result")
    assert browser.current_url == site.url


@pytest.mark.parametrize("width", [PHONE, 1100])
def test_the_words_in_the_fields_are_not_cut_off(browser, site, width):
    person = Person(browser, site, width)
    inputs = "[...document.querySelectorAll('input')]"
    cut = f"return {inputs}.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.value)"
    for number in range(1, EXAMPLES + 2):
        person.choose("#example", number)
        assert browser.execute_script(cut) == []


def test_on_a_phone_nothing_is_wider_than_the_screen(browser, site):
    person = Person(browser, site, PHONE)
    person.choose("#example", 2)
    person.find("#design").click()
    person.wait_for("#result")
    assert browser.execute_script("return document.documentElement.scrollWidth") == PHONE
