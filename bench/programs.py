"""Programs that answer one round at a time, and the peers that have to be installed first."""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
NODE_PACKAGES = ["cockatiel@3", "opossum@8"]


class Broken(Exception):
    """A program that measures cbm itself did not answer."""


class Program:
    """Started and set up by the constructor. `needed`: a run without it says nothing of cbm."""

    def __init__(self, name, command, rounds=None, needed=True):
        self.name, self.rounds, self.needed = name, rounds, needed
        self.skipped = []
        self.alive = True
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer("ready")

    def _fail(self):
        self.alive = False
        if self.needed:
            raise Broken(f"{self.name} failed")
        self.skipped.append(f"{self.name}: it failed")

    def _answer(self, end):
        """Figures up to the line `end`: {name: (value, unit)}."""
        figures = {}
        for line in self.process.stdout:
            line = line.rstrip("\n")
            if line == end:
                return figures
            if line.startswith("skipped "):
                self.skipped.append(line[len("skipped "):])
                continue
            words = line.split(" ")
            if len(words) != 3:
                break
            figures[words[0]] = (float(words[1]), words[2])
        self._fail()
        return {}

    def round(self):
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self._fail()
            return {}
        return self._answer(".")

    def stop(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def node_modules(directory):
    """Where the peers from npm are, installed as it is configured. None with a reason: they are not to be had."""
    if not directory:
        return None, "this run has no place for them (--peers)"
    modules = os.path.join(directory, "node_modules")
    if not shutil.which("node"):
        return None, "there is no node"
    if all(os.path.isdir(os.path.join(modules, package.split("@")[0])) for package in NODE_PACKAGES):
        return modules, None
    if not shutil.which("npm"):
        return None, "there is no npm"
    os.makedirs(directory, exist_ok=True)
    install = ["npm", "install", "--prefix", directory, "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    try:
        done = subprocess.run(install + NODE_PACKAGES, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return None, "npm did not come to an end"
    if done.returncode != 0:
        return None, "npm could not install them: " + (done.stderr.strip().splitlines() or ["it does not say why"])[0]
    return modules, None


def start_peers(build, directory, quick):
    """The in-process peers: programs, and what is skipped and why."""
    programs, skipped = [], []
    quickly = ["--quick"] if quick else []
    modules, why = node_modules(directory)
    if modules:
        command = ["node", os.path.join(HERE, "in_process.mjs"), modules] + quickly
        programs.append(Program("in_process.mjs", command, needed=False))
    else:
        skipped.append(f"cockatiel, opossum: {why}")
    command = [sys.executable, os.path.join(HERE, "bench_python.py"), build] + quickly
    programs.append(Program("bench_python.py", command, needed=False))
    return programs, skipped
