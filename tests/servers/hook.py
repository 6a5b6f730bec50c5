"""An HTTPS server as an operator may write one for the inspector `http`: hook.py CERTIFICATE KEY.

Writes its port into the file `port` of its folder, then answers each POST with a verdict about its body. Python's own TLS, so that not both ends are ours.
"""
import http.server
import ssl
import sys

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR" + b"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


class Hook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers["content-length"])
        object_ = self.rfile.read(length)
        found = EICAR in object_
        answer = b'{"verdict": "matched", "name": "Eicar"}' if found else b'{"verdict": "clean"}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
with open("port", "w", encoding="ascii") as file:
    file.write(f"{server.server_address[1]}\n")
# Behind the handshake of each connection in its own thread: one that fails must not end the others.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
