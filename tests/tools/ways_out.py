#!/usr/bin/python3
"""What a program in the sandbox of deploy/systemd/sandbox can reach, and, as a control, one beside it.

    ways_out.py listen    opens what a machine may have besides, and stays
    ways_out.py           tries each way, and prints whether it is open
"""
import ctypes
import os
import socket
import sys
import time

ELSEWHERE = ("192.0.2.1", 7777)
SHARED_MEMORY = 0x5333
# The same number on every architecture.
IO_URING_SETUP = 425
UNIX = ["/run/container-engine.sock", "/var/lib/database.sock", "/tmp/desktop.sock", "\0abstract"]


def unix(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def tcp(*address):
    socket.create_connection(address, timeout=5).close()


def udp(*address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"a name", address)


def shared_memory(flags=0):
    if ctypes.CDLL(None, use_errno=True).shmget(SHARED_MEMORY, 64 if flags else 0, flags) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def io_uring():
    parameters = ctypes.create_string_buffer(120)
    if ctypes.CDLL(None, use_errno=True).syscall(IO_URING_SETUP, 1, parameters) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def attempt(name, way, *where):
    try:
        way(*where)
        print("open:", name, flush=True)
    except OSError as error:
        print("closed:", name, f"({error.strerror or error})", flush=True)


if sys.argv[1:] == ["listen"]:
    listeners = [socket.create_server(ELSEWHERE)]
    for path in UNIX:
        listeners.append(socket.socket(socket.AF_UNIX))
        listeners[-1].bind(path)
        listeners[-1].listen()
        if path.startswith("/"):
            os.chmod(path, 0o666)
    shared_memory(0o1666)
    print("listening", flush=True)
    time.sleep(600)
attempt("the socket of the gateway", unix, "/run/s3-sandbox/s3.sock")
attempt("the store", tcp, "127.0.0.1", 8333)
attempt("the admin listener", tcp, "127.0.0.1", 9090)
attempt("another machine", tcp, *ELSEWHERE)
attempt("a name server", udp, ELSEWHERE[0], 53)
attempt("systemd", unix, "/run/systemd/journal/stdout")
for path in UNIX:
    attempt(path.replace("\0", "@"), unix, path)
attempt("shared memory", shared_memory)
attempt("io_uring, which makes sockets of any family", io_uring)
attempt("the key of the store", open, "/etc/countersign/secrets/store-secret-access-key")
