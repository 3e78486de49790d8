#!/usr/bin/env python3
"""Runs all benchmarks, a round of each in turn, and prints what they measured side by side.

Medians over the rounds; a ratio is made of two figures of the same round before the median is taken, so that what slows the
machine for a while slows both. Exit status 0: everything ran, whether or not it kept its limits (--strict: and kept them).
"""
import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time

from programs import Broken, Program, start_peers
from questions import PROGRAMS, SECTIONS

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


class Spread:
    """Median, quartiles and extremes of values."""

    def __init__(self, values):
        ordered = sorted(values)
        self.values = list(values)
        self.low, self.high = ordered[0], ordered[-1]
        self.median = statistics.median(ordered)
        self.q1, self.q3 = (self.median, self.median) if len(ordered) < 2 else statistics.quantiles(
            ordered, n=4, method="inclusive")[::2]

    def as_json(self):
        return {"median": self.median, "q1": self.q1, "q3": self.q3, "low": self.low, "high": self.high}


class Run:
    """All figures of all rounds, and what is made of them."""

    def __init__(self):
        self.values = {}  # figure -> its values by round
        self.units = {}
        self.skipped = []
        self.rounds = 0

    def add(self, figures):
        for name, (value, unit) in figures.items():
            self.values.setdefault(name, []).append(value)
            self.units[name] = unit

    def spread(self, figure):
        return Spread(self.values[figure]) if figure in self.values else None

    def ratio(self, figure, to):
        above, below = self.values.get(figure), self.values.get(to)
        if not above or not below:
            return None
        return Spread([a / b for a, b in zip(above, below) if b] or [float("nan")])


def kept(limit, value):
    return value <= limit.value if limit.relation == "at most" else value >= limit.value


def number(value):
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    for digits, below in ((2, 20), (1, 200)):
        if abs(value) < below:
            return f"{value:.{digits}f}"
    return f"{value:.0f}"


def spread_text(spread, unit=""):
    text = f"{number(spread.median)} {unit}".strip()
    return text if spread.low == spread.high else f"{text} ({number(spread.q1)} to {number(spread.q3)})"


def limit_text(limit, value):
    return f"{limit.relation} {number(limit.value)}: {'met' if kept(limit, value) else 'NOT MET'}" if limit else ""


def lines_of(run, row):
    """Of a row of the table: (title, figure, compared, limit) a line. None: not measured in this run."""
    own = run.spread(row.figure)
    if not own:
        return []
    lines = [[row.title, spread_text(own, row.unit), "", limit_text(row.limit, own.median)]]
    for against in row.against:
        ratio = run.ratio(row.figure, against.figure)
        if not ratio:
            continue
        line = [f"{spread_text(ratio)} {against.words}", limit_text(against.limit, ratio.median)]
        if lines[-1][2] or lines[-1][3]:
            lines.append(["", ""] + line)
        else:
            lines[-1][2:] = line
    return lines


def judgements(run):
    """Each limit: what it is about, what was found, whether it was kept (None: not measured)."""
    for section in SECTIONS:
        for row in section.rows:
            bounds = [(row.limit, row.figure, row.unit, run.spread(row.figure))] if row.limit else []
            bounds += [(a.limit, f"{row.figure} / {a.figure}", a.words, run.ratio(row.figure, a.figure))
                       for a in row.against if a.limit]
            for limit, what, unit, found in bounds:
                yield {"section": section.letter, "title": row.title, "what": what, "unit": unit,
                       "relation": limit.relation, "limit": limit.value, "found": found and found.median,
                       "met": kept(limit, found.median) if found else None}


def table_lines(run, section):
    return [line for row in section.rows for line in lines_of(run, row)]


def print_text(run):
    for section in SECTIONS:
        lines = table_lines(run, section)
        if not lines:
            continue
        print(f"\n({section.letter}) {section.title}" if section.letter else f"\n{section.title}")
        widths = [max(len(line[i]) for line in lines) for i in range(4)]
        for line in lines:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    for what in run.skipped:
        print(f"\nskipped: {what}")


def print_verdict(run):
    found = list(judgements(run))
    missed = [j for j in found if j["met"] is False]
    print(f"\n{sum(j['met'] is True for j in found)} limits met, {len(missed)} not met, "
          f"{sum(j['met'] is None for j in found)} not measured")
    for j in missed:
        print(f"  NOT MET ({j['section']}) {j['title'].strip()}: {number(j['found'])} {j['unit']}, "
              f"{j['relation']} {number(j['limit'])}")


def markdown(run):
    text = []
    for section in SECTIONS:
        lines = table_lines(run, section)
        if not lines:
            continue
        title = f"({section.letter}) {section.title}" if section.letter else section.title
        text += [f"**{title}**", "", "| | median (quartiles) | compared, in the same round | limit |",
                 "| --- | --- | --- | --- |"]
        for title, figure, compared, limit in lines:
            title = f"&nbsp;&nbsp;{title.strip()}" if title.startswith(" ") else title
            text.append(f"| {title} | {figure} | {compared} | {limit} |")
        text.append("")
    text += [f"Skipped: {what}\n" for what in run.skipped]
    return "\n".join(text).rstrip() + "\n"


def said_by(path, word):
    """What stands behind a word in a file of lines like "word : value" or "word=value"."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line for line in file if line.startswith(word)]
    except OSError:
        return ""
    return re.sub(r"^[^:=]*[:=]", "", lines[0]).strip().strip('"') if lines else ""


def redis_version():
    """Which of the servers that bench_peers_start tries it was, in the same order: "Valkey 8.1.1", or nothing."""
    for server in filter(shutil.which, ("redis-server", "valkey-server")):
        said = subprocess.run([server, "--version"], capture_output=True, text=True, check=False).stdout
        found = re.match(r"(\w+) server v=(\S+)", said)
        return " ".join(found.groups()) if found else server
    return ""


def machine(run, took_s):
    return {"processor": said_by("/proc/cpuinfo", "model name") or platform.machine(),
            "processors": len(os.sched_getaffinity(0)), "system": said_by("/etc/os-release", "PRETTY_NAME"),
            "kernel": platform.release(), "redis": redis_version(), "rounds": run.rounds, "took_s": round(took_s),
            "date": time.strftime("%Y-%m-%d", time.gmtime())}


def machine_text(about):
    return (f"{about['processors']} processors ({about['processor']}), {about['system']}, Linux {about['kernel']}"
            f"{about['redis'] and ', Redis: ' + about['redis']}; {about['rounds']} rounds in {about['took_s']} s, {about['date']}.")


def write_json(path, run, about):
    ratios = {f"{row.figure} / {a.figure}": run.ratio(row.figure, a.figure)
              for section in SECTIONS for row in section.rows for a in row.against}
    document = {
        "machine": about,
        "figures": {name: {"unit": run.units[name], **run.spread(name).as_json(), "rounds": values}
                    for name, values in sorted(run.values.items())},
        "ratios": {name: ratio.as_json() for name, ratio in ratios.items() if ratio},
        "limits": list(judgements(run)),
        "skipped": run.skipped,
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def write_between(path, text):
    with open(path, encoding="utf-8") as file:
        before, rest = file.read().split(BEGIN)
    _, after = rest.split(END)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def missing(run):
    """Figures that the table is made of and that no program printed, but for those of peers."""
    peers = ("in_process.", "python.", ".redis.")
    return sorted({row.figure for section in SECTIONS for row in section.rows
                   if row.figure not in run.values and not any(peer in row.figure for peer in peers)})


def measure(run, programs, rounds, quiet):
    for done in range(rounds):
        for program in programs:
            if program.alive and (program.rounds is None or done < program.rounds):
                run.add(program.round())
        run.rounds += 1
        if not quiet:
            print(f"\rbench: round {done + 1} of {rounds}", end="\n" if done + 1 == rounds else "", file=sys.stderr, flush=True)


def start(options, programs, run):
    for name, rounds in PROGRAMS:
        if options.only and name.removeprefix("bench_") not in options.only.split(","):
            continue
        command = [os.path.join(options.build, "bin", name)] + (["--quick"] if options.quick else [])
        programs.append(Program(name, command, rounds))
    if not options.only or "in_process" in options.only:
        peers, skipped = start_peers(options.build, options.peers, options.quick)
        programs.extend(peers)
        run.skipped += skipped


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", help="directory of a build with CBM_BENCH")
    parser.add_argument("--peers", metavar="DIRECTORY", help="where peers from npm are, or are installed; none: without them")
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="rounds of each benchmark (20)")
    parser.add_argument("--json", metavar="FILE", help="write all figures, ratios and limits as JSON")
    parser.add_argument("--write", metavar="FILE", help="put the table into FILE, between its two marks")
    parser.add_argument("--only", metavar="NAMES", help="of call, refused, rpc, opening, failure, core, broker, in_process")
    parser.add_argument("--strict", action="store_true", help="a limit that is not met is a failure")
    parser.add_argument("--quick", action="store_true", help="only to see that all of it runs: the figures mean nothing")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds takes a number from 1 on")
    return options


def main():
    options = parse()
    programs, run, begun, status = [], Run(), time.monotonic(), 0
    try:
        start(options, programs, run)
        measure(run, programs, options.rounds, options.quick)
    except (Broken, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        status = 1
    finally:
        for program in programs:
            program.stop()
    if status:
        return status
    run.skipped += [what for program in programs for what in program.skipped]
    about = machine(run, time.monotonic() - begun)
    print(machine_text(about))
    print_text(run)
    if options.quick:
        print("\nonly run, not measured: the figures mean nothing")
    else:
        print_verdict(run)
    if options.json:
        write_json(options.json, run, about)
    if options.write:
        write_between(options.write, f"{machine_text(about)}\n\n{markdown(run)}")
    if not options.only and missing(run):
        print(f"bench: nobody measured {', '.join(missing(run))}", file=sys.stderr)
        return 1
    return 1 if options.strict and any(j["met"] is False for j in judgements(run)) else 0


if __name__ == "__main__":
    sys.exit(main())
