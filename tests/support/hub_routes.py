"""What hub_server.py answers at which address. Bodies of files, with ranges, are in hub_bodies.py."""
import email.utils
import gzip
import json
import re
import threading
import time
import urllib.parse

import hub_bodies
from hub_bodies import End, head, send_whole
from hub_contents import CONTENTS, Content, own_contents
from hub_switches import Switches

TOKEN = "hf_SentinelOfTheTestsThatNobodyMaySee"
REGISTRY_TOKEN = "registry.sentinel.token"
ports = {}     # http, https, other
versions = {}  # "user/name" -> which version main is
uses = {}      # signed address -> how often it was asked
lock = threading.Lock()
VERSIONS = 50
PORTAL = (b"<!DOCTYPE html>\n<html><head><title>Welcome to our network</title></head>"
          b"<body>Please log in.</body></html>\n")
STATUS_TEXTS = {401: "Unauthorized", 403: "Forbidden", 404: "Entry not found", 429: "Too Many Requests",
                500: "Internal Server Error", 503: "Service Unavailable"}


def forget():
    with lock:
        uses.clear()


class Asked:
    """A request to a repo: its parts, its switches."""

    def __init__(self, connection, request, where, namespace, name, revision="main", path=""):
        self.connection, self.request, self.where = connection, request, where
        self.namespace, self.name, self.revision, self.path = namespace, name, revision, path
        self.repo = f"{namespace}/{name}"
        self.query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(request["path"]).query))
        self.switches = Switches(namespace, name, where)
        request["where"], request["repo"] = where, self.repo

    def on(self, word):
        return self.switches.get(word)

    def content(self):
        """At the revision; None: no such one."""
        main = versions.get(self.repo, 1)
        if self.revision in ("main", "refs/heads/main", "latest"):
            return Content.find(self.name, main)
        if self.revision in ("dev", "v1.0", "refs/heads/dev", "feature/one"):
            return Content.find(self.name, 1)
        for version in range(1, VERSIONS):
            found = Content.find(self.name, version)
            if found and found.commit == self.revision:
                return found
        return None

    def send(self, body, *lines, status=200, kind="application/json"):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        api = status == 200 and self.where in ("refs", "revision", "tree")
        cut = self.on("cut") if api else None
        if api and self.on("gzip"):
            body, lines = gzip.compress(body), (*lines, "Content-Encoding: gzip")
        if cut:
            self.connection.send(head(200, kind, *lines, f"Content-Length: {len(body)}") + body[:cut.number()])
            raise End
        send_whole(self.connection, self.request, status, body, kind, *lines)

    def fail(self, status, text, code=None):
        lines = [f"X-Error-Message: {text}"] + ([f"X-Error-Code: {code}"] if code else [])
        self.send({"error": text}, *lines, status=status)

    def origin(self, host=None, port=None):
        scheme = "https" if self.request["tls"] else "http"
        asked, _, _ = self.request["host"].rpartition(":")
        return f"{scheme}://{host or asked}:{port or ports[scheme]}"


# ---- what may go wrong before anything is looked at ----

def play_status(asked, switch):
    status = switch.number()
    lines, text = [], STATUS_TEXTS.get(status, "Something went wrong")
    code, after, rate, message = (asked.on(word) for word in ("code", "retry-after", "ratelimit", "message"))
    if message:
        text = message.arguments[0].replace("-", " ")
        lines.append(f"X-Error-Message: {text}")
    if code:
        lines.append(f"X-Error-Code: {code.arguments[0]}")
    if after:
        lines.append(f"Retry-After: {after.arguments[0]}")
    date = asked.on("retry-date")
    if date:
        lines.append(f"Retry-After: {email.utils.formatdate(time.time() + date.number(), usegmt=True)}")
    if rate:
        lines += [f'RateLimit: "api";r=0;t={rate.arguments[0]}', 'RateLimit-Policy: "fixed window";"api";q=500;w=300']
    asked.send({"error": text}, *lines, status=status)


def play_first(asked):
    """Whether that was the answer."""
    connection = asked.connection
    if asked.on("silent"):
        connection.wait_for_end()
    if asked.on("reset"):
        connection.reset()
    if asked.on("close"):
        raise End
    if asked.on("not-http"):
        connection.send(b"\x16\x03\x01 nothing that anybody knows\r\n" * 40)
        raise End
    if asked.on("endless"):
        connection.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.send(b"X-Filler: " + b"x" * 8000 + b"\r\n")
    switch = asked.on("status")
    if switch:
        play_status(asked, switch)
        return True
    if asked.on("html"):
        asked.send(PORTAL, kind="text/html; charset=utf-8")
        return True
    for word, body in (("garbage", b'{"surprise": [1, "two", null], "branches": 7, "sha": {}}'),
                       ("broken-json", b'[{"type": "file", "path": "tiny'), ("deep", b"[" * 100000)):
        if asked.on(word):
            asked.send(body)
            return True
    return False


def may_enter(asked, is_public=False):
    """Tokens; False: it was refused."""
    given, good = asked.request["authorization"], f"Bearer {TOKEN}"
    if asked.on("disabled"):
        asked.fail(403, "Access to this resource is disabled.")
    elif given is not None and given != good:
        asked.fail(401, "Invalid credentials in Authorization header")
    elif (asked.on("private") and given is None) or not Content.find(asked.name, 1):
        if given is None:
            asked.fail(401, "Invalid username or password.")
        else:
            asked.fail(404, "Repository not found", "RepoNotFound")
    elif not is_public and asked.on("gated"):
        if given is None:
            asked.fail(401, f"Access to model {asked.repo} is restricted. You must have access to it and be authenticated "
                            "to access it. Please log in.", "GatedRepo")
        else:
            asked.fail(403, f"Access to model {asked.repo} is restricted and you are not in the authorized list. Visit "
                            f"https://huggingface.co/{asked.repo} to ask for access.", "GatedRepo")
    elif not is_public and asked.on("token") and given is None:
        asked.fail(401, f"Access to model {asked.repo} is restricted.", "GatedRepo")
    else:
        return True
    return False


def renamed(asked):
    """A repo that has moved: to the same switches without this one. True: that was the answer."""
    for word in ("renamed", "renamed-absolute", "renamed-loop"):
        switch = asked.on(word)
        if not switch:
            continue
        rest = [text for text in asked.namespace.split(".")[1:] if not text.startswith("renamed")]
        fresh = ".".join(["x"] + rest) if rest else "new"
        if word == "renamed-loop":
            fresh = asked.namespace
        location = asked.request["path"].replace(asked.namespace, fresh, 1)
        if word == "renamed-absolute":
            location = asked.origin() + location
        asked.send(b"", f"Location: {location}", status=switch.number(307))
        return True
    return False


# ---- /api/models ----

def send_refs(asked):
    if asked.on("no-refs"):
        asked.fail(404, "Sorry, we can't find the page you are looking for.")
        return
    asked.revision = "main"
    main, first = asked.content().commit, Content.find(asked.name, 1).commit
    asked.send({"branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": main},
                             {"name": "dev", "ref": "refs/heads/dev", "targetCommit": first}],
                "converts": [], "tags": [{"name": "v1.0", "ref": "refs/tags/v1.0", "targetCommit": first}]})
    if asked.on("moving"):
        versions[asked.repo] = versions.get(asked.repo, 1) + 1


def send_revision(asked):
    content = asked.content()
    if not content:
        asked.fail(404, f"Invalid rev id: {asked.revision}", "RevisionNotFound")
        return
    siblings = [{"rfilename": path} for path in content.files]
    if "blobs" in asked.query:
        siblings = [dict(entry, rfilename=entry["path"], blobId=entry["oid"]) for entry in entries_of(asked, content)]
    asked.send({"id": asked.repo, "modelId": asked.repo, "sha": content.commit, "private": bool(asked.on("private")),
                "gated": "manual" if asked.on("gated") else False, "disabled": False, "siblings": siblings, "tags": [],
                "downloads": 1, "likes": 0, "gguf": {"architecture": "llama", "context_length": 2048, "total": 1000}})


def entries_of(asked, content):
    folders = sorted({path[:at] for path in content.files for at in range(len(path)) if path[at] == "/" and at})
    found = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in folders]
    no_lfs, no_size, wrong_oid, wrong_size = (asked.on(word) for word in (
        "no-lfs", "no-size", "wrong-oid", "wrong-size"))
    for path, file in content.files.items():
        entry = {"type": "file", "oid": file.oid, "size": file.said_size, "path": path}
        if wrong_size:
            entry["size"] += wrong_size.number(1)
        if no_size:
            del entry["size"]
        if file.is_large and not no_lfs:
            sha256 = "ab" * 32 if wrong_oid else file.sha256
            entry["lfs"] = {"oid": sha256, "size": entry.get("size", file.said_size), "pointerSize": 134}
            if asked.on("xet"):
                entry["xetHash"] = "cd" * 32
        found.append(entry)
    return found


def send_tree(asked):
    content = asked.content()
    if asked.on("no-tree"):
        asked.fail(404, "Sorry, we can't find the page you are looking for.")
        return
    if not content:
        asked.fail(404, f"Invalid rev id: {asked.revision}", "RevisionNotFound")
        return
    entries = entries_of(asked, content)
    if asked.query.get("recursive", "").lower() not in ("true", "1"):
        entries = [entry for entry in entries if "/" not in entry["path"]]
    lines, start = [], int(asked.query.get("cursor", 0))
    for word in ("pages", "pages-relative", "pages-loop", "pages-third"):
        switch = asked.on(word)
        if switch:
            count = max(switch.number(1), 1)
            path = urllib.parse.urlsplit(asked.request["path"]).path
            next_path = f"{path}?recursive=true&limit={count}&cursor={start if word == 'pages-loop' else start + count}"
            base = {"pages-relative": "", "pages-third": asked.origin("127.0.0.2")}.get(word, asked.origin())
            if start + count < len(entries):
                lines.append(f'Link: <{base}{next_path}>; rel="next"')
            entries = entries[start:start + count]
    asked.send(entries, *lines)


def send_search(connection, request, query):
    request["where"], request["repo"] = "search", None
    wanted = query.get("search", "").lower().split("/")[-1]
    found = [name for name in list(CONTENTS) + list(own_contents) if wanted and (wanted in name or name in wanted)]
    found = found[:int(query.get("limit", 20))]
    body = [{"id": f"user/{name}", "modelId": f"user/{name}", "private": False} for name in found]
    send_whole(connection, request, 200, json.dumps(body).encode(), "application/json")


# ---- resolve ----

def etag_lines(asked, content, file):
    etag = f'"{file.etag}"'
    for word, text in (("weak-etag", f'W/"{file.etag}"'), ("odd-etag", '"not-a-digest-at-all"'),
                       ("dots-etag", '"../../../../evil"')):
        if asked.on(word):
            etag = text
    has_etag, has_commit = not asked.on("no-etag"), not asked.on("no-commit")
    lines = [f"X-Repo-Commit: {content.commit}"] if has_commit else []
    if file.is_large and not asked.on("no-linked"):
        size = asked.on("linked-size")
        if not asked.on("no-linked-size"):
            lines.append(f"X-Linked-Size: {size.number() if size else file.said_size}")
        if has_etag:
            lines.append(f"X-Linked-Etag: {etag}")
    elif has_etag and not file.is_large:
        lines.append(f"ETag: {etag}")
    if file.is_large and asked.on("xet"):
        token = f"{asked.origin()}/api/models/{asked.repo}/xet-read-token/{content.commit}"
        lines += [f"X-Xet-Hash: {'cd' * 32}", f'Link: <{token}>; rel="xet-auth"']
    if asked.on("warning"):
        lines.append("X-HF-Warning: Tests; this repo is only played")
    return lines


def redirect_of(asked, path, kind):
    """The Location for `path` of this server, in the ways that servers, mirrors and proxies have."""
    port, own = ports["https" if asked.request["tls"] else "http"], urllib.parse.urlsplit(asked.request["path"]).path
    upward = "../" * (own.count("/") - 1)
    cdn = asked.origin("localhost")
    return {"absolute": lambda: cdn + path, "relative": lambda: upward + path[1:], "path": lambda: path,
            "protocol": lambda: f"//localhost:{port}{path}", "third": lambda: asked.origin("127.0.0.2") + path,
            "port": lambda: asked.origin(port=ports["other"]) + path, "loop": lambda: own,
            "twoloop": lambda: f"/loop/a{own}", "same": lambda: asked.origin() + path,
            "downgrade": lambda: f"http://127.0.0.1:{ports['http']}{path}", "file": lambda: "file:///etc/passwd",
            "ftp": lambda: "ftp://127.0.0.1/etc/passwd", "empty": lambda: "", "closed": lambda: "http://127.0.0.1:1/",
            "userinfo": lambda: f"http://name:word@localhost:{ports['http']}{path}", "fragment": lambda: cdn + path + "#part",
            "dots": lambda: cdn + "/x/../y/./../" + path[1:], "unencoded": lambda: cdn + path + "&name=a b"}[kind]()


def signed(asked, path):
    """Signatures count up, so that a new one is another address."""
    with lock:
        number = uses[asked.repo] = uses.get(asked.repo, 0) + 1
    life = "0" if asked.on("expired") and number == 1 else ""
    expires = asked.on("expires")
    return f"{path}?Signature={number}&Expires={expires.number() if expires else life}"


def send_resolve(asked):
    content = asked.content()
    if not content:
        asked.fail(404, f"Invalid rev id: {asked.revision}", "RevisionNotFound")
        return
    file = content.files.get(asked.path)
    if not file:
        asked.send(b"Entry not found", f"X-Repo-Commit: {content.commit}", "X-Error-Code: EntryNotFound",
                   "X-Error-Message: Entry not found", status=404, kind="text/plain")
        return
    lines = etag_lines(asked, content, file)
    quoted = urllib.parse.quote(asked.path)
    if asked.on("direct"):
        hub_bodies.send_file(asked, file, lines)
        return
    if file.is_large:
        path, kind, status = signed(asked, f"/cdn/{asked.repo}/{content.commit}/{quoted}"), "absolute", 302
    else:
        path = f"/api/resolve-cache/models/{asked.repo}/{content.commit}/{quoted}?etag=%22{file.etag}%22"
        kind, status = "path", 307
    switch = asked.on("redirect")
    if switch and switch.arguments[0] == "hops":
        path = f"/hop/{int(switch.arguments[1]) - 1}{path}"
    elif switch:
        kind = switch.arguments[0]
    text = b"" if asked.request["method"] == "HEAD" else b"Found. Redirecting to another place."
    length = asked.on("redirect-length")
    if kind != "nowhere":
        lines.append(f"Location: {redirect_of(asked, path, kind)}")
    lines.append(f"Content-Length: {length.number() if length and not text else len(text)}")
    asked.request["status"] = status
    asked.connection.send(head(status, "text/plain", *lines) + text)


def send_small(asked):
    content = asked.content()
    file = content.files[asked.path]
    hub_bodies.send_file(asked, file, [f"X-Repo-Commit: {content.commit}", f'ETag: "{file.etag}"'])


def send_cdn(asked):
    if asked.request["authorization"] and not asked.request["host"].startswith("127.0.0.1:"):
        asked.send(b"<Error><Code>InvalidArgument</Code></Error>", status=400, kind="application/xml")
        return
    life = asked.query.get("Expires")
    if life:
        with lock:
            key = asked.repo, asked.query.get("Signature")
            uses[key] = uses.get(key, 0) + 1
            is_over = uses[key] > int(life)
        if is_over:
            asked.send(b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>", status=403,
                       kind="application/xml")
            return
    file = asked.content().files[asked.path]
    etag = f'"cdn-{file.sha256[:24]}"'
    if asked.on("changing-etag"):
        with lock:
            uses["etags"] = uses.get("etags", 0) + 1
            etag = f'"cdn-{uses["etags"]}"'
    hub_bodies.send_file(asked, file, [f"ETag: {etag}"])


def send_plain(asked):
    """A web server that knows nothing of models."""
    content = asked.content()
    file = content and content.files.get(asked.path)
    if file:
        modified = "Last-Modified: Sat, 01 Nov 2025 10:00:00 GMT"
        hub_bodies.send_file(asked, file, [f'ETag: "{file.size:x}-5f3"', modified])
    else:
        asked.send(b"<html>404</html>", status=404, kind="text/html")


# ---- Ollama's registry, and llama.cpp's older way to the Hub ----

def layers_of(content):
    """(kind, file) of what a model of the registry has."""
    models = [("model", file) for path, file in content.files.items() if path.endswith(".gguf")]
    texts = {"template": "{{ .Prompt }}", "params": '{"stop": ["<|end|>"]}', "license": "Do what you like."}
    return models[:1] + [(kind, hub_bodies.text_file(text)) for kind, text in texts.items()]


def send_manifest(asked):
    content = asked.content() or Content.find(asked.name, 1)
    if "llama-cpp" in (asked.request["agent"] or ""):
        wanted = "" if asked.revision in ("main", "latest") else asked.revision
        path, file = next((path, file) for path, file in content.files.items() if wanted in path and file.is_large)
        lfs = {"sha256": file.sha256, "size": file.size}
        asked.send({"ggufFile": {"rfilename": path, "size": file.size, "lfs": lfs}})
        return
    if asked.revision not in ("latest", "main", "1b"):
        asked.send({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}, status=404)
        return
    config = hub_bodies.text_file('{"model_format": "gguf"}')
    def layer(kind, file):
        return {"mediaType": f"application/vnd.{kind}", "digest": f"sha256:{file.sha256}", "size": file.said_size}

    kind = "application/vnd.docker.distribution.manifest.v2+json"
    asked.send({"schemaVersion": 2, "mediaType": kind, "config": layer("docker.container.image.v1+json", config),
                "layers": [layer(f"ollama.image.{name}", file) for name, file in layers_of(content)]}, kind=kind)


def send_blob(asked):
    content = Content.find(asked.name, 1)
    files = [file for _, file in layers_of(content)] + [hub_bodies.text_file('{"model_format": "gguf"}')]
    number = next((number for number, file in enumerate(files) if f"sha256:{file.sha256}" == asked.path), None)
    if number is None:
        asked.send({"errors": [{"code": "BLOB_UNKNOWN"}]}, status=404)
    elif asked.request["path"].startswith("/blobs/"):
        hub_bodies.send_file(asked, files[number], [])
    else:
        asked.send(b"", f"Location: {asked.origin('localhost')}/blobs/{asked.repo}/{asked.path}", status=307)


def registry_enter(asked):
    if not asked.on("auth") or asked.request["authorization"] == f"Bearer {REGISTRY_TOKEN}":
        return True
    challenge = f'realm="{asked.origin()}/v2/token",service="registry",scope="repository:{asked.repo}:pull"'
    asked.send({"errors": [{"code": "UNAUTHORIZED"}]}, f"WWW-Authenticate: Bearer {challenge}", status=401)
    return False


# ---- which one it is ----

NAMES = r"(?P<namespace>[^/?]+)/(?P<name>[^/?]+)"
ROUTES = [(re.compile(pattern), where, function) for pattern, where, function in (
    (rf"/api/models/{NAMES}/refs", "refs", send_refs),
    (rf"/api/models/{NAMES}/revision/(?P<revision>.+)", "revision", send_revision),
    (rf"/api/models/{NAMES}/tree/(?P<revision>[^/]+)(/(?P<folder>.*))?", "tree", send_tree),
    (rf"/api/models/{NAMES}", "revision", send_revision),
    (rf"/api/resolve-cache/models/{NAMES}/(?P<revision>[^/]+)/(?P<path>.+)", "small", send_small),
    (rf"/cdn/{NAMES}/(?P<revision>[^/]+)/(?P<path>.+)", "cdn", send_cdn),
    (rf"/plain/{NAMES}/(?P<path>.+)", "plain", send_plain),
    (rf"/v2/{NAMES}/manifests/(?P<revision>[^/]+)", "manifest", send_manifest),
    (rf"(/v2)?/(blobs/)?{NAMES}/(blobs/)?(?P<path>sha256:[0-9a-f]+)", "blob", send_blob),
    (rf"/{NAMES}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve", send_resolve))]


def answer_repo(asked, function):
    if renamed(asked) or play_first(asked):
        return
    if asked.where in ("manifest", "blob"):
        if not Content.find(asked.name, 1):
            asked.send({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}, status=404)
        elif asked.request["path"].startswith("/blobs/") or registry_enter(asked):
            function(asked)
    elif asked.where in ("cdn", "plain", "small") or may_enter(asked, asked.where != "resolve"):
        function(asked)


def answer(connection, request):
    parts = urllib.parse.urlsplit(request["path"])
    if parts.path == "/api/models":
        send_search(connection, request, dict(urllib.parse.parse_qsl(parts.query)))
        return
    if parts.path == "/api/whoami-v2":
        request["where"] = "whoami"
        send_whole(connection, request, 200, b'{"type": "user", "name": "user"}', "application/json")
        return
    if parts.path == "/v2/token":
        request["where"] = "token"
        send_whole(connection, request, 200, json.dumps({"token": REGISTRY_TOKEN}).encode(), "application/json")
        return
    hop = re.fullmatch(r"/(hop|loop)/(\w+)(/.*)", parts.path)
    if hop:
        send_hop(connection, request, hop, parts.query)
        return
    for pattern, where, function in ROUTES:
        match = pattern.fullmatch(parts.path)
        if match:
            found = {name: urllib.parse.unquote(value) for name, value in match.groupdict().items() if value}
            asked = Asked(connection, request, where, found["namespace"], found["name"], found.get("revision", "main"),
                          found.get("path", ""))
            answer_repo(asked, function)
            return
    request["where"] = "nowhere"
    send_whole(connection, request, 404, b"Not found", "text/plain")


def send_hop(connection, request, hop, query):
    kind, number, rest = hop.groups()
    request["where"] = kind
    if kind == "loop":
        location = f"/loop/{'b' if number == 'a' else 'a'}{rest}"
    else:
        location = (f"/hop/{int(number) - 1}{rest}" if int(number) > 1 else rest) + (f"?{query}" if query else "")
    send_whole(connection, request, 302, b"", "text/plain", f"Location: {location}")
