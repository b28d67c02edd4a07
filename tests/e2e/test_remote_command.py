#!/usr/bin/env python3
"""clinfer remote as a user meets it: the list, and a remote tried step by step, with a scripted server
(tests/support/remote_server.py). The key is in nothing that the tool says. Prints TAP."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import tap  # noqa: E402

TOOL = os.environ.get("CLINFER_TEST_BINARY") or "build/release/clinfer"
KEY = "sk-sentinel-0f9e8d7c6b5a"
SCRATCH = tempfile.mkdtemp(prefix="clinfer-remote-")
STEPS = ["resolve", "connect", "certificate", "authenticate", "answer"]

INVALID, REFUSED, REMOTE_FAILED = 2, 13, 14  # exit statuses, see clinfer.h


class Server:
    def __init__(self):
        self.child = subprocess.Popen([sys.executable, "tests/support/remote_server.py", SCRATCH], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.ready = json.loads(self.child.stdout.readline())

    def url(self, script, kind="http"):
        scheme, port = ("http", self.ready[kind]) if kind in self.ready else ("https", self.ready["tls"][kind])
        return f"{scheme}://127.0.0.1:{port}/{script}/v1"

    def log(self):
        self.child.stdin.write("log\n")
        self.child.stdin.flush()
        entries = json.loads(self.child.stdout.readline())
        assert not [entry for entry in entries if "exception" in entry], entries
        return entries

    def end(self):
        self.child.stdin.close()
        self.child.wait(10)


def remote(*words, status=0, config=None, **variables):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("OPENAI_", "ANTHROPIC_", "CURL_CA_BUNDLE", "CLINFER_NO_REMOTE"))}
    environment.update(XDG_CONFIG_HOME=SCRATCH, SSL_CERT_FILE=server.ready["authority"], TEST_KEY=KEY, **variables)
    os.makedirs(os.path.join(SCRATCH, "clinfer"), exist_ok=True)
    with open(os.path.join(SCRATCH, "clinfer", "config.json"), "w", encoding="utf-8") as file:
        json.dump(config or {}, file)
    done = subprocess.run([TOOL, "remote", *words], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    for text in (done.stdout, done.stderr):
        assert KEY not in text and KEY[4:16] not in text, text
    return done


def configured(url, **more):
    return {"remotes": [dict({"name": "lab", "url": url, "model": "tiny"}, **more)]}


def test_list():
    config = {"remotes": [
        {"name": "lan", "url": "http://192.0.2.5:8000/v1", "plain_http": True, "allow": True},
        {"name": "openai", "model": "x"},
        {"name": "leaky", "url": "http://example.org/v1", "key_variable": "TEST_KEY", "allow": True},
        {"name": "plain", "url": "http://example.org/v1"}]}
    text = remote(config=config).stdout
    assert "plain http: everybody on the way can read the prompts" in text, text
    assert "key: $TEST_KEY" in text and "cannot be asked" in text, text
    lan, openai, leaky, plain = json.loads(remote("list", "--json", config=config,
                                                  OPENAI_API_KEY=KEY).stdout)["remotes"]
    assert lan["asked"] and lan["reason"] is None and lan["key"] is None and lan["problem"] is None, lan
    assert not openai["asked"] and "does not allow" in openai["reason"] and openai["key"] == "$OPENAI_API_KEY", openai
    assert openai["url"] == "https://api.openai.com/v1", openai
    assert not leaky["asked"] and "its key would go over plain http" in leaky["reason"] and not leaky["problem"], leaky
    assert "does not allow" in plain["reason"] and "plain http is for this host only" in plain["problem"], plain
    forbidden = json.loads(remote("--json", config=config, CLINFER_NO_REMOTE="1").stdout)["remotes"]
    assert [item["reason"] for item in forbidden] == ["CLINFER_NO_REMOTE forbids remotes"] * 4, forbidden
    assert "no remote is configured" in remote().stderr


def test_all_steps():
    config = configured(server.url("good", "good"), key_variable="TEST_KEY")
    done = remote("test", "lab", config=config)
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", step] for step in STEPS], done.stdout
    assert "CN = good" in lines[2] and "the key of $TEST_KEY is accepted" in lines[3], done.stdout
    assert "goes to " + server.url("good", "good") in done.stderr, done.stderr
    request, = server.log()
    assert request["headers"]["authorization"] == "Bearer " + KEY, request
    assert request["body"]["max_tokens"] == 1 and request["body"]["model"] == "tiny", request


def test_json_and_flags():
    report = json.loads(remote("test", server.url("good"), "--json", "--remote-model", "other", "--remote-dialect",
                               "anthropic", "--remote-key-variable", "TEST_KEY").stdout)
    assert report["ok"] and report["error"] is None and report["model"] == "other", report
    assert [step["name"] for step in report["steps"]] == STEPS and all(step["ok"] for step in report["steps"]), report
    request, = server.log()
    assert request["path"].endswith("/v1/messages") and request["headers"]["x-api-key"] == KEY, request
    assert request["body"]["model"] == "other", request


def test_each_step_says_what_to_do():
    for script, kind, last, words in (
            ("good", "closed", "connect", "whether it runs"),
            ("good", "stranger", "certificate", "SSL_CERT_FILE"),
            ("status_401", "good", "authenticate", "check $TEST_KEY"),
            ("status_500", "good", "answer", "try later"),
            ("html", "good", "answer", "is its URL that of an API?")):
        config = configured(server.url(script, kind), key_variable="TEST_KEY")
        done = remote("test", "lab", config=config, status=REMOTE_FAILED)
        verdict, step = done.stdout.splitlines()[-1].split()[:2]
        assert (verdict, step) == ("fail", last) and words in done.stdout, done.stdout
        assert "fail" not in done.stderr and len(done.stdout.splitlines()) == STEPS.index(last) + (
            0 if last == "answer" else 1), done.stdout
        report = json.loads(remote("test", "lab", "--json", config=config, status=REMOTE_FAILED).stdout)
        assert not report["ok"] and words in report["error"] and not report["steps"][-1]["ok"], report


def test_refusals():
    url = server.url("good")
    server.log()
    remote("test", url, status=REFUSED, CLINFER_NO_REMOTE="1")
    remote("test", "lab", config=dict(configured(url), remote="never"), status=REFUSED)
    remote("test", "http://192.0.2.1/v1", status=REFUSED)
    key = os.path.join(SCRATCH, "key")
    with open(key, "w", encoding="utf-8") as file:
        file.write(KEY)
    os.chmod(key, 0o644)
    done = remote("test", "lab", config=configured(url, key_file=key), status=REFUSED)
    assert key in done.stderr and "mode 0644" in done.stderr, done.stderr
    assert not server.log()


def test_mistakes():
    assert "NAME or URL" in remote("test", status=INVALID).stderr
    assert "`list` and `test NAME|URL`" in remote("frob", status=INVALID).stderr
    assert "no such remote" in remote("test", "nowhere", status=INVALID).stderr


def test_run_with_tools():
    tools = os.path.join(SCRATCH, "tools.json")
    with open(tools, "w", encoding="utf-8") as file:
        json.dump([{"type": "function", "function": {"name": "weather"}}], file)
    for dialect in "openai", "anthropic":
        environment = dict(os.environ, XDG_CONFIG_HOME=SCRATCH)
        done = subprocess.run([TOOL, "run", "--json", "--remote-only", "--remote", server.url("calls"),
                               "--remote-dialect", dialect, "--remote-model", "tiny", "--tools", tools, "Paris?"],
                              env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["text"] == "Well." and report["finish_reason"] == "tool_calls", report
        assert [(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
                for call in report["tool_calls"]] == [("call_1", "weather", {"city": "Paris"}), ("call_2", "time", {})]
    bodies = [entry["body"] for entry in server.log()]
    assert bodies[0]["tools"][0]["function"]["name"] == bodies[1]["tools"][0]["name"] == "weather", bodies


if __name__ == "__main__":
    server = Server()
    try:
        tap.main(globals())
    finally:
        server.end()
        shutil.rmtree(SCRATCH, ignore_errors=True)
