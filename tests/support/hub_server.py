#!/usr/bin/env python3
"""Plays the Hub, its CDN and Ollama's registry, and fails as the name of a repo asks: hub_switches.py has the switches,
hub_contents.py the repos. "user/tiny" behaves; "x.cdn-status_503_once/tiny" has the same files.

    python3 tests/support/hub_server.py FOLDER [--port N]

Prints one line of JSON: {"http", "https", "untrusted": addresses for HF_ENDPOINT, "authority": the certificate that
signed https, "closed": an address where nobody listens, "other": a port of the same server}. The Hub is 127.0.0.1, the
CDN localhost, a third host 127.0.0.2, all at one port and all of them answer everything: which one was asked is in the
log. Then each line on stdin is answered by one of JSON:

    log                      the requests since the last time; times of switches begin again
    files NAME [VERSION]     {"commit", "files": {path: {"size", "sha256", "oid", "etag", "large"}}} of a repo's name
    version REPO N           main of user/name is another version from now on
    put {"name", "version": 1, "files": {path: text | {"file": path, "large": true} | {"size": bytes}}}
    token                    the token that gated and private repos want

A request of the log: method, host, path, where (refs, tree, revision, resolve, small, cdn, manifest, ...), repo,
headers, lines, authorization, range, agent, connection, status, sent (bytes of the body)."""
import json
import socket
import ssl
import struct
import sys
import threading
import traceback
import urllib.parse

import hub_routes
from hub_contents import Content
from hub_switches import Switches
from remote_server import closed_port, make_authority, make_context

lock = threading.Lock()
log = []
HOSTS = ("127.0.0.1", "127.0.0.2", "::1")


def note(entry):
    with lock:
        log.append(entry)


class Gone(Exception):
    """The connection is over; nothing more can be sent."""


class Connection:
    numbers = 0

    def __init__(self, sock, is_tls):
        Connection.numbers += 1
        self.sock, self.is_tls, self.number, self.buffer = sock, is_tls, Connection.numbers, b""

    def send(self, data):
        self.sock.sendall(data)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        raise Gone

    def wait_for_end(self):
        """Until the other side hangs up; at most a minute."""
        self.sock.settimeout(60)
        while self.sock.recv(4096):
            pass
        raise Gone

    def read_request(self):
        """None: there is none any more."""
        while b"\r\n\r\n" not in self.buffer:
            more = self.sock.recv(65536)
            if not more:
                return None
            self.buffer += more
        top, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        self.skip_body(int(headers.get("content-length", 0)))
        if target.startswith("http://"):  # as a proxy is asked
            target = urllib.parse.urlsplit(target)._replace(scheme="", netloc="").geturl()
        return {"method": method, "host": headers.get("host", ""), "path": target, "headers": headers, "lines": lines,
                "authorization": headers.get("authorization"), "range": headers.get("range"),
                "agent": headers.get("user-agent"), "connection": self.number, "tls": self.is_tls, "status": 0,
                "sent": 0}

    def skip_body(self, length):
        while len(self.buffer) < length:
            more = self.sock.recv(65536)
            if not more:
                return
            self.buffer += more
        self.buffer = self.buffer[length:]


def serve_connection(sock, context):
    connection = Connection(sock, bool(context))
    try:
        if context:
            connection.sock = context.wrap_socket(sock, server_side=True)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            request = connection.read_request()
            if not request:
                break
            note(request)
            hub_routes.answer(connection, request)
            if request["headers"].get("connection", "").lower() == "close":
                break
    except (OSError, ssl.SSLError, Gone, hub_routes.End):
        pass  # the other side has gone, or did not like the certificate, or that was the script's last word
    except Exception:
        note({"exception": traceback.format_exc()})
    try:
        connection.sock.close()
    except OSError:
        pass


def accept_all(server, context):
    while True:
        sock, _ = server.accept()
        threading.Thread(target=serve_connection, args=(sock, context), daemon=True).start()


def listen(context=None, port=0):
    """On all hosts at one port; the port."""
    for host in HOSTS:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            server = socket.create_server((host, port), family=family, backlog=128)
        except OSError:
            if host == "127.0.0.1":
                raise
            continue  # no IPv6 here
        port = server.getsockname()[1]
        threading.Thread(target=accept_all, args=(server, context), daemon=True).start()
    return port


def take_log():
    Switches.forget()
    hub_routes.forget()
    with lock:
        entries, log[:] = list(log), []
    return entries


def files_of(words):
    found = Content.find(words[0], int(words[1]) if len(words) > 1 else 1)
    return found and {"commit": found.commit, "files": {path: {
        "size": file.size, "sha256": file.sha256, "oid": file.oid, "etag": file.etag, "large": file.is_large}
        for path, file in found.files.items()}}


def obey(line):
    command, _, rest = line.strip().partition(" ")
    if command == "log":
        return take_log()
    if command == "files":
        return files_of(rest.split())
    if command == "version":
        repo, number = rest.split()
        hub_routes.versions[repo] = int(number)
        return True
    if command == "put":
        described = json.loads(rest)
        Content.put(described["name"], described.get("version", 1), described["files"])
        return True
    if command == "token":
        return hub_routes.TOKEN
    return {"exception": f"there is no command {command!r}"}


def main():
    folder = sys.argv[1]
    port = int(sys.argv[3]) if sys.argv[2:3] == ["--port"] else 0
    make_authority(folder, "authority")
    make_authority(folder, "stranger")
    plain, other = listen(port=port), listen()
    trusted, untrusted = (listen(make_context(folder, name, authority)) for name, authority in
                          (("good", "authority"), ("by_stranger", "stranger")))
    hub_routes.ports.update(http=plain, https=trusted, other=other)
    print(json.dumps({"http": f"http://127.0.0.1:{plain}", "https": f"https://127.0.0.1:{trusted}",
                      "untrusted": f"https://127.0.0.1:{untrusted}", "authority": f"{folder}/authority.pem",
                      "closed": f"http://127.0.0.1:{closed_port()}", "other": other}), flush=True)
    for line in sys.stdin:
        print(json.dumps(obey(line)), flush=True)


if __name__ == "__main__":
    main()
