#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A FastCGI application on descriptor 0 that does as the path says, a thread for each connection.

/params         its params, as JSON
/sleep/MS       answers "slept" after so long
/stream/N/MS    N lines, one after each pause, of a length not told before
/length         how long the body was
/pid            its process
/say/TEXT       writes TEXT and its end of line to stdout and, as "err TEXT", to stderr
"""
import json
import os
import signal
import socket
import struct
import sys
import threading
import time

STDIN, STDOUT, END, PARAMS, BEGIN = 5, 6, 3, 4, 1


def record(kind, request, data):
    return struct.pack(">BBHHBx", 1, kind, request, len(data), 0) + data


def pairs(data):
    at, out = 0, {}
    while at < len(data):
        lens = []
        for _ in "nv":
            n = data[at]
            if n > 127:
                n = struct.unpack(">I", data[at:at + 4])[0] & 0x7FFFFFFF
                at += 3
            at += 1
            lens.append(n)
        name, value = data[at:at + lens[0]], data[at + lens[0]:at + sum(lens)]
        out[name.decode()] = value.decode("latin-1")
        at += sum(lens)
    return out


def answer(params, body, write):
    words = params["REQUEST_URI"].split("/")[1:]
    write(b"Content-Type: text/plain\r\n\r\n")
    if words[0] == "params":
        write(json.dumps(params).encode())
    elif words[0] == "sleep":
        time.sleep(int(words[1]) / 1000)
        write(b"slept")
    elif words[0] == "stream":
        for i in range(int(words[1])):
            write(b"line %d\n" % i)
            time.sleep(int(words[2]) / 1000)
    elif words[0] == "pid":
        write(b"%d" % os.getpid())
    elif words[0] == "length":
        write(b"%d" % len(body))
    elif words[0] == "say":
        print(words[1], flush=True)
        print("err", words[1], file=sys.stderr, flush=True)


def serve(connection):
    stream, params, body = connection.makefile("rb"), b"", b""
    while len(head := stream.read(8)) == 8:
        _, kind, request, length, padding = struct.unpack(">BBHHBx", head)
        data = stream.read(length + padding)[:length]
        if kind == BEGIN:
            keep, params, body = data[2] & 1, b"", b""
        elif kind == PARAMS:
            params += data
        elif kind == STDIN and data:
            body += data
        elif kind == STDIN:
            answer(pairs(params), body, lambda b: connection.sendall(record(STDOUT, request, b)))
            connection.sendall(record(STDOUT, request, b"") + record(END, request, bytes(8)))
            if not keep:
                break
    connection.close()


if os.environ.get("DEAF"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
listener = socket.socket(fileno=0)
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
