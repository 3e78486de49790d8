"""What the tests stand on: a real cbmd of their own, and conditions that are waited for."""
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
DEADLINE_S = 20  # far beyond what a sanitized build on a busy machine needs; no test waits so long


def program(name):
    """One of the programs built beside the module."""
    return os.path.join(os.environ["CBM_BIN"], name)


def wait_until(condition, what="the condition"):
    """What the condition returns, as soon as that is true."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {DEADLINE_S} s")
        time.sleep(0.002)


def _keeps_nothing():
    """The option of a cbmd that has a store to do without it."""
    text = subprocess.run([program("cbmd"), "--help"], capture_output=True, text=True, check=True).stdout
    return ["--no-store"] if "--no-store" in text else []


def _is_stopped(path):
    with open(path, encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"


class Broker:
    """A cbmd in a directory of its own; start() again after stop() or kill()."""

    def __init__(self, *arguments):
        self.directory = tempfile.mkdtemp(prefix="cbm-python-")
        self.address = f"ipc://{self.directory}/cbm.sock"
        self.arguments = list(arguments) + _keeps_nothing()
        self.process = None
        self.start()

    def start(self):
        """Returns when it accepts connections."""
        ready, writes = os.pipe()
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self.process = subprocess.Popen(
                [program("cbmd"), "--listen", self.address, f"--ready-fd={writes}", *self.arguments],
                pass_fds=[writes], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        os.close(writes)
        try:
            if not select.select([ready], [], [], DEADLINE_S)[0] or not os.read(ready, 16).startswith(b"READY"):
                raise AssertionError(f"cbmd did not start: {self.log()}")
        finally:
            os.close(ready)

    def log(self):
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def stop(self):
        self.process.terminate()
        status = self.process.wait(DEADLINE_S)
        if status != 0:  # a sanitizer's report among others
            raise AssertionError(f"cbmd ended with {status}: {self.log()}")
        self.process = None

    def kill(self):
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self.process = None

    def pause(self):
        """A broker that hangs."""
        self.process.send_signal(signal.SIGSTOP)
        tasks = f"/proc/{self.process.pid}/task"
        wait_until(lambda: all(_is_stopped(f"{tasks}/{task}/stat") for task in os.listdir(tasks)), "the stop of the broker")

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def free(self):
        try:
            if self.process is not None:
                self.go_on()
                self.stop()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)


class BrokerTest(unittest.TestCase):
    """Tests with one broker for the class, without a rate limit; each test has breakers of its own names."""

    arguments = ("--rate-limit", "0")

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(*cls.arguments)
        cls.addClassCleanup(cls.broker.free)

    def open(self, **options):
        import cbm
        client = cbm.open(self.broker.address, **options)
        self.addCleanup(client.close)
        return client

    def name(self, suffix=""):
        return self.id().rpartition(".")[2] + suffix


class Upstream(Exception):
    """What a call raises when the other side is ill."""


def fail(*_args, **_kwargs):
    raise Upstream("it is down")


def fail_times(client, name, times):
    """That many failures of the breaker."""
    for _ in range(times):
        try:
            client.call(name, fail)
        except Upstream:
            pass


def in_child(function):
    """Runs the function in a forked child, which must return true."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if function() else 2
        except BaseException:  # pylint: disable=broad-except
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0
