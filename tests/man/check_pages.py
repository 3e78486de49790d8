#!/usr/bin/env python3
"""The manual pages against what they speak of: options of --help, functions of cbm.h, keys of contrib/cbm.conf.

    check_pages.py SOURCE_DIRECTORY BUILD_DIRECTORY
"""
import re
import subprocess
import sys
from pathlib import Path

source, build = Path(sys.argv[1]), Path(sys.argv[2])
wrong = 0


def tell(right, what):
    global wrong
    wrong += not right
    print(("ok  " if right else "NOT ") + what)


def page(name):
    """A page's source as people read it: without scdoc's marks."""
    text = (source / "man" / f"{name}.scd").read_text()
    return re.sub(r"\\(.)", r"\1", re.sub(r"(?<![\w\\])[*_](?=\S)|(?<=\S)(?<!\\)[*_](?!\w)", "", text))


def help_of(*command):
    return subprocess.run([str(build / "bin" / command[0]), *command[1:], "--help"],
                          capture_output=True, text=True, check=True).stdout


def options_of(text):
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)))


def check_options(name, text, page_text, but=()):
    missing = [option for option in options_of(text)
               if option not in but and not re.search(re.escape(option) + r"(?![\w-])", page_text)]
    tell(not missing, f"{name} names every option of --help" + "".join(f" {option}" for option in missing))


check_options("cbmd(8)", help_of("cbmd"), page("cbmd.8"))
unknown = [option for option in options_of(page("cbmd.8")) if option not in options_of(help_of("cbmd"))]
tell(not unknown, "cbmd(8) names no option that there is not" + "".join(f" {option}" for option in unknown))

cbmctl = page("cbmctl.1")
check_options("cbmctl(1)", help_of("cbmctl"), cbmctl)
commands = re.findall(r"^  ([a-z-]+) {2,}\S", help_of("cbmctl").split("Commands:")[1].split("Each has")[0], re.M)
tell(len(commands) > 10, f"cbmctl --help lists its commands: {len(commands)}")
for command in commands:
    tell(re.search(rf"(?<![\w-]){command}(?![\w-])", cbmctl) is not None, f"cbmctl(1) has {command}")
    # What stands behind a bare -- and what nngcat takes are no options of ours.
    check_options(f"cbmctl(1), {command},", help_of("cbmctl", command), cbmctl, but=("--field", "--data"))
made = build / "man" / "man1" / "cbmctl.1.scd"
if made.exists():
    fields = re.findall(r"^  (\w+) \(", help_of("cbmctl", "get").split("Policy fields")[1], re.M)
    filled = made.read_text().replace("\\", "")
    tell(len(fields) > 20, f"cbmctl get --help lists the policy fields: {len(fields)}")
    for field in fields:
        tell(f"\n*{field}*\n" in filled, f"cbmctl(1) has the policy field {field}")
codes = re.findall(r"^ +(\d+)  ", help_of("cbmctl").split("Exit status:")[1], re.M)
missing = [code for code in codes if not re.search(rf"(?<!\d){code}(?!\d)", cbmctl.split("EXIT STATUS")[1])]
tell(not missing, "cbmctl(1) names every exit status" + "".join(f" {code}" for code in missing))

# The settings stand in the page by hand; policy fields come from the table.
keys = []
for line in (source / "contrib" / "cbm.conf").read_text().splitlines():
    section = re.match(r"#?\[(\w+)", line)
    if section:
        keys.append((section[1], None))
    elif keys and re.match(r"#?(\w+) = ", line):
        keys.append((keys[-1][0], re.match(r"#?(\w+) = ", line)[1]))
conf = page("cbm.conf.5")
made = (build / "man" / "man5" / "cbm.conf.5.scd")
filled = made.read_text().replace("\\", "") if made.exists() else ""
for section, key in keys:
    if key is None:
        tell(f"[{section}" in conf, f"cbm.conf(5) has section {section}")
    elif section not in ("defaults", "breaker"):
        tell(key in conf, f"cbm.conf(5) has {key} of {section}")
    elif filled:
        tell(f"*{key}*" in filled, f"cbm.conf(5) has the policy field {key}")

# Every exported function has its page, and every prototype shown is that of the header.
header = re.sub(r"\s+", " ", (source / "client" / "include" / "cbm.h").read_text())
functions = re.findall(r"^ +(cbm_\w+);", (source / "client" / "cbm-client.map").read_text(), re.M)
pages = {path.stem: re.sub(r"\\(.)", r"\1", path.read_text()) for path in (source / "man").glob("*.3.scd")}
for function in functions:
    tell(any(re.search(rf"^\*[^\n]*\b{function}\(", text, re.M) for text in pages.values()), f"{function} has a page")
for name, text in sorted(pages.items()):
    shown = [line.strip("*") for line in text.splitlines() if re.match(r"\*[a-z].*\);\*$", line)]
    for prototype in shown:
        tell(re.sub(r"\s+", " ", prototype) in header, f"{name} shows {prototype}")

print(f"{wrong} wrong")
sys.exit(wrong != 0)
