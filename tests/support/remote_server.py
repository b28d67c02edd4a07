#!/usr/bin/env python3
"""A remote API that misbehaves as its URL asks: http://127.0.0.1:PORT/SCRIPT/v1/chat/completions plays SCRIPT, which is
in remote_scripts.py.

Started by remote_server.c. Prints one line of JSON, {"http": port, "tls": {kind: port}, "closed": port, "authority":
path}, then answers each line on stdin with one: "log" with the list of the requests since the last one (script, path,
headers, body, number of the connection); ends when stdin does. Listens on 127.0.0.1 only. The certificates are made by
openssl when it starts, in the folder given: tls.good is signed by the authority, the others have what is wrong in their
name."""
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import traceback

from remote_scripts import Connection, script_of, short_answer

lock = threading.Lock()
log, seen = [], {}


def read_request(connection, buffer):
    """The next request of a connection: (its parts, what was read beyond it); None: there is none."""
    while b"\r\n\r\n" not in buffer:
        more = connection.sock.recv(65536)
        if not more:
            return None, b""
        buffer += more
    top, _, buffer = buffer.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    pairs = [line.split(":", 1) for line in lines]
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    length = int(headers.get("content-length", 0))
    while len(buffer) < length:
        more = connection.sock.recv(65536)
        if not more:
            return None, b""
        buffer += more
    path = first.split(" ")[1]
    request = {"script": path.split("/")[1], "path": path, "headers": headers, "lines": lines,
               "body": json.loads(buffer[:length] or b"{}"), "connection": connection.number}
    return request, buffer[length:]


def note(entry):
    with lock:
        name = entry.get("script", "")
        seen[name] = seen.get(name, 0) + 1
        log.append(dict(entry))
        return seen[name]


def serve_connection(sock, number, context):
    connection = Connection(sock, number)
    buffer, stays = b"", True
    try:
        if context:
            connection.sock = context.wrap_socket(sock, server_side=True)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while stays:
            request, buffer = read_request(connection, buffer)
            if not request:
                break
            request["count"] = note(request)
            stays = script_of(request["script"])(connection, request)
    except (OSError, ssl.SSLError):
        pass  # the other side has gone, or did not like the certificate
    except Exception:
        note({"exception": traceback.format_exc()})
    try:
        connection.sock.close()
    except OSError:
        pass


def listen(context=None):
    """Serves in threads; the port."""
    server = socket.create_server(("127.0.0.1", 0), backlog=64)

    def accept():
        number = 0
        while True:
            sock, _ = server.accept()
            number += 1
            threading.Thread(target=serve_connection, args=(sock, number, context), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return server.getsockname()[1]


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def make_authority(folder, name):
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
            name + ".key", "-out", name + ".pem", "-days", "2", "-subj", "/CN=" + name)


def make_context(folder, name, authority="authority", host="DNS:localhost,IP:127.0.0.1", days="2"):
    with open(os.path.join(folder, name + ".ext"), "w", encoding="utf-8") as extensions:
        extensions.write(f"subjectAltName={host}\n")
    openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", name
            + ".key", "-out", name + ".csr", "-subj", "/CN=" + name)
    openssl(folder, "x509", "-req", "-in", name + ".csr", "-CA", authority + ".pem", "-CAkey", authority + ".key",
            "-CAcreateserial", "-out", name + ".pem", "-days", days, "-extfile", name + ".ext")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(folder, name + ".pem"), os.path.join(folder, name + ".key"))
    return context


def make_tls(folder):
    make_authority(folder, "authority")
    make_authority(folder, "stranger")
    return {"good": listen(make_context(folder, "good")),
            "other_host": listen(make_context(folder, "other_host", host="DNS:other.example.org")),
            "expired": listen(make_context(folder, "expired", days="-1")),
            "stranger": listen(make_context(folder, "by_stranger", authority="stranger"))}


def main():
    folder = sys.argv[1]
    ready = {"http": listen(), "tls": make_tls(folder), "closed": closed_port(),
             "authority": os.path.join(folder, "authority.pem"), "short_bytes": len(short_answer())}
    print(json.dumps(ready), flush=True)
    for _ in sys.stdin:
        with lock:
            entries, log[:] = list(log), []
            seen.clear()
        print(json.dumps(entries), flush=True)


if __name__ == "__main__":
    main()
