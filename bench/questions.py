"""What ./dev bench asks: sections of rows, each a figure that some program prints, what it is compared with, and its limit."""
from collections import namedtuple

# figure: its name. unit: as the table shows it. against: a list of Against. limit: a Limit of the figure itself, or None.
Row = namedtuple("Row", "title figure unit against limit")
# The ratio row / figure, in the words of the table ("times the floor").
Against = namedtuple("Against", "words figure limit")
Limit = namedtuple("Limit", "relation value")
Section = namedtuple("Section", "letter title rows")

ARRANGEMENTS = [("one_thread", "one thread"), ("two_threads", "two threads"), ("two_processes", "two processes")]


def most(value):
    return Limit("at most", value)


def least(value):
    return Limit("at least", value)


def row(title, figure, unit, *against, limit=None):
    return Row(title, figure, unit, list(against), limit)


def calls():
    rows = []
    for name, title in ARRANGEMENTS:
        floor, clock = f"call.{name}.floor", f"call.{name}.clock"
        rows += [
            row(f"{title}: the floor", floor, "ns"),
            row(f"{title}: the clock, read twice", clock, "ns"),
            row(f"{title}, untimed", f"call.{name}.untimed.few", "ns", Against("times the floor", floor, most(2))),
            row(f"{title}, timed", f"call.{name}.timed.few", "ns", Against("times the clock", clock, None), limit=most(60)),
        ]
    return rows


def calls_of_many():
    rows = []
    for name, title in ARRANGEMENTS:
        for kind in ("untimed", "timed"):
            against = Against("times as with 10", f"call.{name}.{kind}.few", most(1.5))
            rows.append(row(f"{title}, {kind}", f"call.{name}.{kind}.many", "ns", against))
    return rows


def refusals():
    limits = [most(15), None, None]
    return [row(title, f"refused.{name}", "ns", limit=limit) for (name, title), limit in zip(ARRANGEMENTS, limits)]


PEERS = [("rep", "libnng REP"), ("echo", "the epoll echo"), ("redis", "Redis EVALSHA")]


def latencies():
    rows = []
    for where, title in [("apart", "on different processors"), ("together", "on one processor"), ("anywhere", "anywhere")]:
        figure = f"rpc.1.{where}."
        rows.append(row(f"1 client, {title}: cbmd", figure + "cbmd.latency", "us",
                        Against("times libnng REP", figure + "rep.latency", None),
                        Against("times the epoll echo", figure + "echo.latency", most(1.15)),
                        Against("times Redis EVALSHA", figure + "redis.latency", most(1.15))))
        rows += [row(f"    {peer}", f"{figure}{name}.latency", "us") for name, peer in PEERS]
    for clients in (2, 8, 64):
        figure = f"rpc.{clients}.anywhere."
        rows.append(row(f"{clients} clients: cbmd", figure + "cbmd.latency", "us"))
        rows += [row(f"    {peer}", f"{figure}{name}.latency", "us") for name, peer in PEERS]
    return rows


def rates():
    rows = []
    for clients, rep, echo in ((1, None, None), (2, None, None), (8, least(1.5), least(0.6)), (64, least(1.5), least(0.75))):
        figure = f"rpc.{clients}.anywhere."
        rows.append(row(f"{clients} client{'s' * (clients > 1)}: cbmd", figure + "cbmd.rate", "k/s",
                        Against("times libnng REP", figure + "rep.rate", rep),
                        Against("times the epoll echo", figure + "echo.rate", echo),
                        Against("times Redis EVALSHA", figure + "redis.rate", None)))
        rows += [row(f"    {peer}", f"{figure}{name}.rate", "k/s") for name, peer in PEERS]
    return rows


def processor_times():
    rows = []
    for clients in (8, 64):
        figure = f"rpc.{clients}.anywhere."
        rows.append(row(f"{clients} clients: cbmd", figure + "cbmd.processor", "us",
                        Against("times libnng REP", figure + "rep.processor", None),
                        Against("times the epoll echo", figure + "echo.processor", None),
                        Against("times Redis EVALSHA", figure + "redis.processor", None)))
        rows += [row(f"    {peer}", f"{figure}{name}.processor", "us") for name, peer in PEERS]
    return rows


def failures():
    nobody = "failure.holders_0"
    return [
        row("nobody holds it", nobody, "us"),
        row("1 holder", "failure.holders_1", "us", Against("times as with none", nobody, None)),
        row("32 holders", "failure.holders_32", "us", Against("times as with none", nobody, None)),
        row("1,000 holders", "failure.holders_1000", "us", Against("times as with none", nobody, None), limit=most(150)),
        row("1,000 holders of 8 lanes", "failure.holders_1000_lanes_8", "us", Against("times as with none", nobody, None)),
    ]


def broker():
    return [
        row("memory, idle", "broker.memory.idle", "KiB", limit=most(2048)),
        row("memory, with 1,000 clients", "broker.memory.attached", "KiB"),
        row("more for each of these", "broker.memory.client", "KiB", limit=most(16)),
        row("wake-ups, idle", "broker.wakeups.idle", "/s", limit=most(0)),
        row("wake-ups, with 1,000 clients that rest", "broker.wakeups.attached", "/s", limit=most(0)),
    ]


def in_process():
    call, python = "call.one_thread.untimed.few", "python."
    return [
        row("cockatiel (Node)", "in_process.cockatiel", "ns", Against("times a shared call of cbm", call, least(20))),
        row("opossum (Node)", "in_process.opossum", "ns", Against("times a shared call of cbm", call, None)),
        row("    a bare await (Node)", "in_process.bare_await", "ns"),
        row("circuitbreaker (Python)", python + "circuitbreaker", "ns", Against("times a shared call of cbm", call, None)),
        row("    cbm's decorator (Python), shared", python + "decorated", "ns",
            Against("times circuitbreaker", python + "circuitbreaker", None)),
        row("    cbm's with breaker (Python), shared", python + "block", "ns",
            Against("times circuitbreaker", python + "circuitbreaker", None)),
        row("    a bare call (Python)", python + "bare", "ns"),
        row("libcbm-core (C), by slot", "core.call.few", "ns", Against("times a shared call of cbm", call, None)),
        row("    with 65,000 breakers, at random", "core.call.many", "ns"),
    ]


def weights():
    return [
        row("a breaker, its name and place in the table", "core.breaker", "bytes"),
        row("    under `failures`, with room for 5 times", "core.breaker_failures", "bytes"),
        row("an outcome in a count window", "core.count_window_outcome", "bits"),
        row("a second in a time window", "core.time_window_second", "bytes"),
    ]


SECTIONS = [
    Section("a", "A permit and its success on a healthy breaker, 10 breakers in the broker", calls()),
    Section("b", "Refused by an OPEN breaker", refusals()),
    Section("c", "A request by message: latency of a report", latencies()),
    Section("c", "A request by message: thousands a second, over all clients", rates()),
    Section("c", "A request by message: processor time that it takes the server", processor_times()),
    Section("d", "From the deciding failure's cbm_call_report to the first refusal in another process", [
        row("until it is refused", "opening.seen", "us", Against("times the report's round trip", "opening.report", most(1))),
        row("the report's round trip", "opening.report", "us"),
        row("seen before the report returned", "opening.before_return", "%"),
    ]),
    Section("e", "A failure, when the holders have called since the last one: the report's round trip", failures()),
    Section("f", "As (a), with 65,000 breakers in the broker", calls_of_many()),
    Section("g", "The broker", broker()),
    Section("h", "A success through a breaker that is not shared, in its own process", in_process()),
    Section("", "What libcbm-core keeps", weights()),
]

# Programs of the build, in the order of a round. What takes long and hardly varies has fewer rounds.
PROGRAMS = [("bench_call", None), ("bench_refused", None), ("bench_rpc", None), ("bench_opening", None),
            ("bench_failure", None), ("bench_core", None), ("bench_broker", 2)]
