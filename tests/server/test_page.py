#!/usr/bin/env python3
"""The web page as it comes over HTTP; what it does in a browser is scripts/check_page.py's. Prints TAP."""
import http.client
import os
import re
import sys
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

PAGE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../runtime/server/page")
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def get(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def test_files_come_as_they_are_with_a_strict_policy():
    with serving.Serve("--api-key", "sesame") as server:
        for name, kind in (("index.html", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css"), ("icon.svg", "image/svg+xml")):
            status, headers, body = get(server, f"/{name}")
            assert status == 200 and headers["Content-Type"].startswith(kind), (name, status, headers.items())
            assert body == open(os.path.join(PAGE, name), "rb").read(), name
            policy = headers["Content-Security-Policy"]
            assert "default-src 'self'" in policy and "unsafe" not in policy and headers["X-Content-Type-Options"] == "nosniff", policy
            status, again, body = get(server, f"/{name}", **{"If-None-Match": headers["ETag"]})
            assert status == 304 and body == b"" and again["ETag"] == headers["ETag"], (name, status)
        assert get(server, "/", **BROWSER)[2].lower().startswith(b"<!doctype html>")
        assert get(server, "/favicon.ico")[1]["Content-Type"] == "image/svg+xml"
        assert get(server, "/page.txt")[0] in (401, 404)
        assert get(server, "/v1/models")[0] == 401


def test_clients_of_ollama_get_its_line():
    with serving.Serve() as server:
        assert get(server, "/")[2] == b"Ollama is running"
        assert get(server, "/", **{"Accept": "*/*", "User-Agent": "ollama-python/0.6.3"})[2] == b"Ollama is running"
        assert get(server, "/", "HEAD")[0] == 200


def test_below_a_prefix_its_files_are_found():
    with serving.Serve("--api-prefix", "/my/llm", wait=False) as server:
        end = time.monotonic() + 60
        while "ready" not in server.said() and time.monotonic() < end:
            time.sleep(0.02)
        status, headers, _ = get(server, "/my/llm", **BROWSER)
        assert status == 308 and urllib.parse.urljoin("http://x/my/llm", headers["Location"]) == "http://x/my/llm/", headers.items()
        assert get(server, "/my/llm/", **BROWSER)[0] == get(server, "/my/llm/page.js")[0] == 200
        assert get(server, "/page.js")[0] == 404


def test_it_can_be_switched_off():
    with serving.Serve("--no-ui") as server:
        for path in ("/", "/index.html", "/page.js", "/favicon.ico"):
            assert get(server, path, **BROWSER)[0] == 404, path
        assert get(server, "/health")[0] == 200


def test_it_names_nothing_from_outside_and_makes_no_markup_of_texts():
    script = open(os.path.join(PAGE, "page.js")).read()
    for name in ("index.html", "page.css", "icon.svg", "page.js"):
        text = open(os.path.join(PAGE, name)).read().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"""(src|href|url|import|fetch)\W{1,3}(https?:)?//""", text), name
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script)
    assert not re.search(r"\son\w+=|style=|<script>", open(os.path.join(PAGE, "index.html")).read())


if __name__ == "__main__":
    tap.main(globals())
