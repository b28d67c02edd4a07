"""The web page of `clinfer serve` in a real browser, typed into and clicked: answers that stream, stop, regenerate,
edit, conversations that survive a reload, script in an answer, a key that is asked for, a server that ends, narrow
screens; the browser's log must stay empty. Needs Debian's chromium and chromium-driver, and Python's selenium.

usage: check_page.py SERVER_COMMAND... [--pictures FOLDER]
       check_page.py ./clinfer serve -m smollm2-135m --device cpu --pictures docs"""
import json
import os
import re
import shutil
import subprocess
import sys
import time

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

command, pictures = sys.argv[1:], None
if "--pictures" in command:
    at = command.index("--pictures")
    pictures = command[at + 1]
    del command[at : at + 2]


class Server:
    def __init__(self, *more):
        self.process = subprocess.Popen([*command, "--port", "0", *more], stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            found = re.search(r"http://[\w.:\[\]]+", line)
            if found:
                self.url = found.group()
                break
        else:
            sys.exit("check_page: the server did not start")
        # Nobody else reads what it says from now on.
        subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)

    def end(self):
        self.process.terminate()
        self.process.wait()


def browser(width, height, dark=False):
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                 f"--window-size={width},{height}"):
        options.add_argument(flag)
    if dark:
        options.add_argument("--force-dark-mode")
        options.add_argument("--blink-settings=preferredColorScheme=0")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = shutil.which("chromium")
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def until(driver, what, seconds=120):
    return WebDriverWait(driver, seconds).until(lambda _: what())


def find(driver, css):
    return driver.find_elements(By.CSS_SELECTOR, css)


def idle(driver):
    return find(driver, "#send")[0].is_displayed()


def say(driver, text):
    field = find(driver, "#question")[0]
    field.send_keys(text)
    field.send_keys(Keys.ENTER)


def answers(driver):
    return driver.execute_script("return [...document.querySelectorAll('article.assistant .body')].map((e) => e.innerText)")


def log_of(driver):
    return [entry["message"] for entry in driver.get_log("browser")]


def with_settings(driver, **fields):
    find(driver, "#settings-open")[0].click()
    for name, value in fields.items():
        field = find(driver, f"#settings [name={name}]")[0]
        field.clear()
        field.send_keys(value)
    find(driver, "#settings button[value=save]")[0].click()


def check_talk(server):
    driver = browser(1280, 800)
    driver.get(server.url)
    until(driver, lambda: find(driver, "#model option"))
    with_settings(driver, temperature="0", max_tokens="60")
    say(driver, "Name three fruits as a list.")
    until(driver, lambda: idle(driver) and answers(driver))
    first = answers(driver)[0]
    assert first, "an answer"
    until(driver, lambda: "tokens/s" in find(driver, "#facts")[0].text)
    assert re.search(r"context \d+ of \d+ tokens", find(driver, "#facts")[0].text), find(driver, "#facts")[0].text

    find(driver, "article.assistant footer button")[1].click()  # regenerate, greedily: the same again
    until(driver, lambda: idle(driver) and answers(driver) == [first])

    with_settings(driver, max_tokens="2000", temperature="0")
    say(driver, "Tell me a very long story about a river.")
    until(driver, lambda: len(answers(driver)) == 2 and len(answers(driver)[1]) > 20)
    find(driver, "body")[0].send_keys(Keys.ESCAPE)
    until(driver, lambda: idle(driver) and find(driver, "article.assistant footer span"), 5)
    notes = [element.text for element in find(driver, "article.assistant footer span")]
    assert notes == ["stopped"], notes

    find(driver, "article.user")[1].find_elements(By.CSS_SELECTOR, "footer button")[1].click()  # edit
    field = find(driver, "#question")[0]
    assert field.get_attribute("value").startswith("Tell me a very long story") and len(answers(driver)) == 1
    field.clear()
    with_settings(driver, max_tokens="30")
    say(driver, "Say hello.")
    until(driver, lambda: idle(driver) and len(answers(driver)) == 2)

    driver.refresh()
    until(driver, lambda: len(answers(driver)) == 2 and find(driver, "#model option"))
    assert answers(driver)[0] == first, "conversations are kept"
    find(driver, "#search")[0].send_keys("no such text")
    assert not find(driver, "#list li")
    find(driver, "#search")[0].clear()
    find(driver, "#search")[0].send_keys("hello")
    assert len(find(driver, "#list li")) == 1
    if pictures:
        driver.save_screenshot(os.path.join(pictures, "page.png"))
    assert log_of(driver) == [], log_of(driver)
    driver.quit()


# What a model writes stays text, whatever it is.
def check_markup(server):
    driver = browser(1280, 800)
    driver.get(server.url)
    until(driver, lambda: find(driver, "#model option"))
    hostile = ("<script>window.broken = 1</script>\n\n# Head\n\n- one\n- **two** `x<y`\n\n```html\n<img src=x onerror='window.broken=2'>\n```\n"
               "| a | b |\n|---|---|\n| 1 | [link](https://example.com/?a=1) [bad](javascript:alert(1)) |\n\n<img src=x onerror=alert(1)>")
    kept = [{"id": "1", "title": "<b>t</b>", "messages": [{"role": "user", "content": "<i>q</i>"},
             {"role": "assistant", "content": hostile, "thinking": "<u>hm</u>"}]}]
    driver.execute_script("localStorage.setItem('clinfer.conversations', arguments[0])", json.dumps(kept))
    driver.refresh()
    until(driver, lambda: find(driver, "article.assistant"))
    assert not driver.execute_script("return window.broken") and not find(driver, "article img, article script, article u, article i")
    assert find(driver, "article pre code")[0].text.startswith("<img src=x") and find(driver, "article table td")[0].text == "1"
    links = [link.get_attribute("href") for link in find(driver, "article a")]
    assert links == ["https://example.com/?a=1"], links
    assert not find(driver, "details.thinking")[0].get_attribute("open")
    assert find(driver, "#list .title")[0].text == "<b>t</b>"
    assert log_of(driver) == [], log_of(driver)
    driver.quit()


def check_narrow_and_dark(server):
    driver = browser(500, 844, dark=True)
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                           {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia",
                           {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    driver.get(server.url)
    until(driver, lambda: find(driver, "#model option"))
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off"
    assert not find(driver, "#search")[0].is_displayed()
    with_settings(driver, max_tokens="40", temperature="0")
    say(driver, "What is the capital of France?")
    until(driver, lambda: idle(driver) and answers(driver))
    until(driver, lambda: find(driver, "#facts")[0].text)
    if pictures:
        driver.save_screenshot(os.path.join(pictures, "page_narrow.png"))
    find(driver, "#menu")[0].click()
    until(driver, lambda: find(driver, "#search")[0].is_displayed())
    assert find(driver, "#menu")[0].get_attribute("aria-expanded") == "true"
    assert log_of(driver) == [], log_of(driver)
    driver.quit()


def check_key_and_end():
    server = Server("--api-key", "sesame")
    driver = browser(1280, 800)
    driver.get(server.url)
    until(driver, lambda: find(driver, "#settings")[0].get_attribute("open"))
    assert "key" in find(driver, "#error")[0].text.lower()
    until(driver, lambda: driver.switch_to.active_element.get_attribute("name") == "key")
    driver.switch_to.active_element.send_keys("sesame")
    find(driver, "#settings button[value=save]")[0].click()
    until(driver, lambda: find(driver, "#model option") and not find(driver, "#error")[0].is_displayed())
    with_settings(driver, max_tokens="2000")
    say(driver, "Tell me a very long story about a river.")
    until(driver, lambda: answers(driver) and len(answers(driver)[0]) > 20)
    server.process.kill()
    server.process.wait()
    until(driver, lambda: idle(driver) and find(driver, "#error")[0].is_displayed(), 10)
    assert len(answers(driver)[0]) > 20, "what came is kept"
    say(driver, "Are you there?")
    until(driver, lambda: "cannot be reached" in find(driver, "#error")[0].text, 10)
    driver.quit()


server = Server()
for check in (check_talk, check_markup, check_narrow_and_dark):
    started = time.time()
    check(server)
    print(f"ok      {check.__name__} ({time.time() - started:.1f} s)", flush=True)
server.end()
check_key_and_end()
print("ok      check_key_and_end")
