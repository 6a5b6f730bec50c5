"""A server for batches of audit records: keeps what it takes in a file, and misbehaves as it is told on the command line.

log_receiver.py PORT FILE WORD...: each POST is met with the next word: `503`, `302`, `garbage`, `cut` (the connection is closed without an
answer), `hang` (no answer for a minute), and with `ok` when no word is left.
"""
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, path, words = int(sys.argv[1]), sys.argv[2], sys.argv[3:]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        word = words.pop(0) if words else "ok"
        if word == "hang":
            time.sleep(60)
        elif word == "garbage":
            self.wfile.write(b"\x00\x01 this is no HTTP\r\n\r\n")
        elif word == "302":
            self.send_response(302)
            self.send_header("location", "/elsewhere")
            self.end_headers()
        elif word == "503":
            self.send_error(503)
        elif word == "ok":
            with open(path, "ab") as file:
                file.write(body)
            with open(path + ".heads", "a") as file:
                print(self.path, self.headers["content-type"], self.headers["authorization"], file=file)
            self.send_response(204)
            self.end_headers()
        self.close_connection = True

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
