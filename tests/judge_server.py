"""A chat completions endpoint on this machine that answers as a test wants: well, late, wrongly, half or not at all."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NO_ERRORS = json.dumps({"errors": []})


def completion(text, finish="stop", usage=(100, 20), **message):
    body = {"choices": [{"message": {"content": text, **message}, "finish_reason": finish}]}
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return 200, json.dumps(body).encode(), {}


class Server:
    """A chat completions endpoint whose behaviour is a function of how often it was asked and of the question."""

    def __init__(self):
        self.reply = lambda number, question: completion(NO_ERRORS)
        self.questions, self.headers, self.times, self.paths = [], [], [], []
        self.busy = self.busiest = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_POST(self):
                outer.answer(self)

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, address):
                pass  # clients that went away are part of these tests

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def answer(self, handler):
        question = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.questions)
            self.questions.append(question)
            self.headers.append(dict(handler.headers))
            self.times.append(time.monotonic())
            self.paths.append(handler.path)
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
        try:
            given = self.reply(number, question)
        finally:
            with self._lock:
                self.busy -= 1
        if given is None:  # hangs up without a word
            handler.close_connection = True
            handler.connection.close()
            return
        status, body, headers = given
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        if int(headers.get("Content-Length", len(body))) > len(body):  # promised more than it sends
            handler.close_connection = True

    def close(self):
        self.http.shutdown()
        self.http.server_close()
