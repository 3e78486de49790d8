#!/usr/bin/env python3
"""Runs what README.md shows, as a reader would: in one shell, from top to bottom, in an empty directory.

    test_readme.py BUILD_DIRECTORY

Blocks of README.md by the word after the fence: `sh` is run; `output` is what the `sh` before it must have written to stdout
("..." stands for any text); `c NAME` and `python NAME` are saved as NAME. Commands for the tree itself (`./dev ...`) stand in `text` blocks: other tests
run those. Of PROTOCOL.md, the nngcat commands are run, against a broker at another address.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
README = "README.md"
PYTHON = "bindings/python/README.md"
PROTOCOL = "proto/PROTOCOL.md"
DOCUMENTED_ADDRESS = "ipc:///run/cbm/cbm.sock"
FENCE = re.compile(r"^```(\w*) *(.*?)\s*$")
TIMEOUT_S = 90
MARK = "\x1e"  # between the outputs of blocks


class Block:
    def __init__(self, document, line, kind, name):
        self.document, self.line, self.kind, self.name = document, line, kind, name
        self.lines = []

    def text(self):
        return "".join(line + "\n" for line in self.lines)

    def place(self):
        return f"{self.document}:{self.line}"


def blocks_of(document):
    blocks, block = [], None
    with open(os.path.join(ROOT, document), encoding="utf-8") as file:
        for number, line in enumerate(file.read().split("\n"), 1):
            fence = FENCE.match(line)
            if block is None and fence:
                block = Block(document, number, fence.group(1), fence.group(2))
            elif block is not None and fence:
                blocks.append(block)
                block = None
            elif block is not None:
                block.lines.append(line)
    if block is not None:
        raise SystemExit(f"NOT {block.place()}: the block has no end")
    return blocks


def protocol_commands():
    """The nngcat commands of PROTOCOL.md as blocks, each of which must be answered with success."""
    start = Block(PROTOCOL, 1, "sh", "")
    start.lines = ["export CBM_ADDRESS=ipc://$PWD/cbm.sock", 'cbmd --listen "$CBM_ADDRESS" --no-store 2>cbmd.log &',
                   "until cbmctl ping >ping.log 2>&1; do sleep 0.1; done"]
    blocks = [start]
    with open(os.path.join(ROOT, PROTOCOL), encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.startswith("    nngcat --req"):
                block = Block(PROTOCOL, number, "sh", "")
                block.lines = [f"{line.strip().replace(DOCUMENTED_ADDRESS, '$CBM_ADDRESS')} | jq -e .success >success.log"]
                blocks.append(block)
    if len(blocks) == 1:
        raise SystemExit(f"NOT {PROTOCOL}: no nngcat command is shown")
    return blocks


def shell_script(blocks):
    """One bash script of all `sh` blocks; a mark with the block's number before each."""
    parts = ["set -eu -o pipefail\n"]
    for number, block in enumerate(blocks):
        if block.kind == "sh":
            parts.append(f"printf '{MARK}{number}\\n'\nprintf '{MARK}{number}\\n' >&2\n{block.text()}")
    return "".join(parts)


def outputs_by_block(text):
    outputs = {}
    for part in text.split(MARK)[1:]:
        number, _, output = part.partition("\n")
        outputs[int(number)] = output
    return outputs


def matches(expected, output):
    pattern = ".*?".join(re.escape(piece) for piece in expected.strip("\n").split("..."))
    return re.fullmatch(pattern, output.strip("\n"), re.DOTALL) is not None


def environment(build):
    """As if it were installed: programs on PATH, header and library where the compiler looks."""
    variables = dict(os.environ)
    variables.pop("CBM_ADDRESS", None)
    for name, directory in [("PATH", f"{build}/bin"), ("C_INCLUDE_PATH", f"{ROOT}/client/include"),
                            ("LIBRARY_PATH", f"{build}/lib"), ("LD_LIBRARY_PATH", f"{build}/lib"),
                            ("PYTHONPATH", f"{build}/python")]:
        before = variables.get(name)
        variables[name] = f"{directory}:{before}" if before else directory
    return variables


def run(blocks, build, directory):
    """(exit status, stdout, stderr) of the script."""
    for block in blocks:
        if block.kind in ("c", "python"):
            if not block.name or "/" in block.name:
                raise SystemExit(f"NOT {block.place()}: a program needs a file name")
            with open(os.path.join(directory, block.name), "w", encoding="utf-8") as file:
                file.write(block.text())
    with open(os.path.join(directory, ".script"), "w", encoding="utf-8") as file:
        file.write(shell_script(blocks))
    with open(os.path.join(directory, ".stdout"), "w+", encoding="utf-8", errors="replace") as stdout, \
            open(os.path.join(directory, ".stderr"), "w+", encoding="utf-8", errors="replace") as stderr:
        # Files, not pipes: a broker that the script leaves running would hold a pipe open.
        shell = subprocess.Popen(["bash", ".script"], cwd=directory, env=environment(build), stdin=subprocess.DEVNULL,
                                 stdout=stdout, stderr=stderr, start_new_session=True)
        try:
            status = shell.wait(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = f"none within {TIMEOUT_S} s"
        try:
            os.killpg(shell.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        stdout.seek(0)
        stderr.seek(0)
        return status, stdout.read(), stderr.read()


def check(blocks, build):
    """The number of things that are not as the document says."""
    directory = tempfile.mkdtemp(prefix="cbm-readme-")
    try:
        status, stdout, stderr = run(blocks, build, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    outputs, errors = outputs_by_block(stdout), outputs_by_block(stderr)
    failures = 0
    if status != 0:
        last = max(outputs, default=0)
        print(f"NOT {blocks[last].place()}: exit status {status}\n{outputs.get(last, '')}{errors.get(last, '')}")
        failures += 1
    for number, block in enumerate(blocks):
        if block.kind == "sh" and number in outputs:
            expected = blocks[number + 1] if number + 1 < len(blocks) and blocks[number + 1].kind == "output" else None
            if expected and not matches(expected.text(), outputs[number]):
                print(f"NOT {expected.place()}: the output is\n{outputs[number]}{errors.get(number, '')}")
                failures += 1
            elif status == 0 or number != max(outputs):
                print(f"ok  {block.place()}{' and its output' if expected else ''}")
    return failures


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: test_readme.py BUILD_DIRECTORY")
    build = os.path.abspath(sys.argv[1])
    failures = check(blocks_of(README), build) + check(protocol_commands(), build)
    if os.path.isdir(os.path.join(build, "python")):
        failures += check(blocks_of(PYTHON), build)
    sys.exit(1 if failures else 0)


main()
