#!/usr/bin/env python3
"""The demo's upstream: a real HTTP server on a free port of 127.0.0.1, taken down and up by lines on stdin.

stdout, one line each: "port N" at the start, "down" and "up" when that is done, and for every request
"request BEGIN END WORKER STATUS" (seconds of CLOCK_MONOTONIC). Down, it takes 150 ms to answer 503: slow and broken, as a
dependency in trouble is.
"""
import http.server
import sys
import threading
import time

UP_S = 0.005
DOWN_S = 0.150

is_down = threading.Event()
output_lock = threading.Lock()


def say(line):
    with output_lock:
        print(line, flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        begin = time.monotonic()
        status = 503 if is_down.is_set() else 200
        time.sleep(DOWN_S if status == 503 else UP_S)
        worker = self.headers.get("X-Worker", "?").split()[0]
        # Said before the answer leaves: whatever the answer makes others do comes later on this clock.
        say(f"request {begin:.6f} {time.monotonic():.6f} {worker} {status}")
        body = f"{status}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say(f"port {server.server_address[1]}")
    for line in sys.stdin:
        if line.strip() == "down":
            is_down.set()
        else:
            is_down.clear()
        say(line.strip())


main()
