"""Compares Offboard with two peers and with this machine's limits. Started by `benches/run`."""

import argparse, glob, http.client, json, math, os, platform, re, shutil, signal, socket, sqlite3, statistics, subprocess, sys
import tempfile, threading, time, urllib.request
from contextlib import ExitStack
from urllib.parse import urlparse

import paho.mqtt.client as mqtt

# The core device of the stand-in's devices.
CORE = "sandbox-core"
# Maximum number of seconds of each wait, far longer than it takes.
PATIENCE = 240
# Mosquitto's default limits are 20 messages in flight to a client, 1000 more in its queue, and no
# TCP_NODELAY.
AS_IT_COMES = ""
RAISED = "max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n"
# The comparison does not measure the rate limit, so the limit is high for all agents.
RATE, BURST, LINGER = 1000, 1000, 0.1
# From the end of one command to the next of an agent that does nothing else, in milliseconds: a
# pause, and the linger.
PACE_MS = 120
SYNCS = "fsync,fdatasync,sync_file_range,msync,sync,syncfs"
WRITES = "write,writev,pwrite64,pwritev,pwritev2"
HERE = os.path.dirname(os.path.abspath(__file__))


def wait_until(what, done, patience=PATIENCE, pace=0.02):
    end = time.monotonic() + patience
    while not (result := done()):
        if time.monotonic() > end:
            sys.exit(f"waited in vain until {what}")
        time.sleep(pace)
    return result


def stop(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Broker:
    """A Mosquitto without persistence, and a client that receives the agents' status."""

    def __init__(self, stack, directory, more=AS_IT_COMES):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        path = os.path.join(directory, f"mosquitto-{self.port}.conf")
        with open(path, "w") as file:
            file.write(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n{more}")
        process = subprocess.Popen(["/usr/sbin/mosquitto", "-c", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(stop, process)
        wait_until("mosquitto listens", self.listens)
        self.seen, self.lock = [], threading.Lock()
        self.ear = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "ear")
        self.ear.on_message = self.hear
        subscribed = threading.Event()
        self.ear.on_subscribe = lambda *_: subscribed.set()
        self.ear.connect("127.0.0.1", self.port)
        self.ear.subscribe([("offboard/+/status", 1), (f"offboard/{CORE}/results/ear/#", 1)])
        self.ear.loop_start()
        stack.callback(self.ear.loop_stop)
        subscribed.wait(PATIENCE)

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def hear(self, client, userdata, message):
        with self.lock:
            self.seen.append((time.monotonic(), message.topic, json.loads(message.payload)))

    def status(self, what, core, wanted, since=0.0):
        """Returns when a wanted status was first received after `since`."""
        def find():
            with self.lock:
                heard = [(at, body) for at, topic, body in self.seen if topic == f"offboard/{core}/status" and at > since]
            return next((at for at, body in heard if wanted(body)), None)
        return wait_until(what, find, pace=0.005)

    def send(self, number, things):
        """Sends a command as the client `ear`."""
        body = {"clientToken": f"ear-{number}", "entries": [{"thingName": thing} for thing in things]}
        self.ear.publish(f"offboard/{CORE}/commands/ear/disassociate-client-devices", json.dumps(body), 1)

    def answered(self, kind, count):
        """Waits until `count` of the client's commands have an answer of this kind."""
        def tokens():
            with self.lock:
                return {body["clientToken"] for _, topic, body in self.seen if topic.endswith(f"/{kind}")}
        wait_until(f"{count} commands are {kind}", lambda: len(tokens()) == count)

    def last_status(self, core):
        with self.lock:
            return next((body for _, topic, body in reversed(self.seen) if topic == f"offboard/{core}/status"), {})


class Cloud:
    """The stand-in for the cloud."""

    def __init__(self, stack, options, devices=0):
        command = [options.sandbox, "cloud", "--devices", str(devices)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        stack.callback(stop, self.process)
        self.environment = {}
        for line in self.process.stdout:
            if line.startswith("# control"):
                self.control = line.split()[2].removesuffix("/")
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").strip().partition("=")
                self.environment[name] = value
                if name == "AWS_DEFAULT_REGION":
                    break
        self.endpoint = self.environment["AWS_ENDPOINT_URL_GREENGRASSV2"]

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.control + path, data, method=method)) as answer:
            return json.load(answer)

    def calls(self, about=CORE):
        return [call for call in self.ask("GET", "/calls") if call["operation"] == "disassociate" and call["about"] == about]


class Agent:
    """One of the compared agents, as a process."""

    name = property(lambda self: type(self).__name__.lower())

    def __init__(self, stack, options, broker, cloud, core=CORE, retention=7 * 86400.0, trace=False):
        self.options, self.broker, self.cloud, self.core, self.retention = options, broker, cloud, core, retention
        self.data, self.process = tempfile.mkdtemp(prefix=f"{self.name}-", dir=options.dir), None
        self.trace = tempfile.mkdtemp(prefix="trace-", dir=options.dir)
        # strace writes a file for each thread: in one file, the lines of two threads would be cut.
        strace = ["/usr/bin/strace", "-ff", "--seccomp-bpf", "-qq", "-y", "-s", "0", "-e", f"trace={SYNCS},{WRITES}",
                  "-e", "signal=none", "-o", os.path.join(self.trace, "of"), "--"]
        self.wrapper = strace if trace else []
        stack.callback(shutil.rmtree, self.data, ignore_errors=True)
        stack.callback(self.stop)

    def start(self):
        """Starts the agent, and returns the seconds until it reports ONLINE."""
        command, environment = self.command()
        environment |= {name: self.cloud.environment[name] for name in self.cloud.environment if "CONTAINER" in name}
        began = time.monotonic()
        self.process = subprocess.Popen(self.wrapper + command, env=environment, stdout=subprocess.DEVNULL,
                                        stderr=None if self.options.verbose else subprocess.DEVNULL)
        return self.broker.status("it is online", self.core, lambda body: body["state"] == "ONLINE", began) - began

    def until_in_sync(self, devices, since):
        def synced(body):
            return body.get("lastSyncAt") and body["devices"].get("ASSOCIATED", 0) == devices
        return self.broker.status("it is in sync", self.core, synced, since)

    def start_in_sync(self, devices):
        began = time.monotonic()
        self.start()
        return self.until_in_sync(devices, began) - began

    def pid(self):
        if not self.wrapper:
            return self.process.pid
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return int(file.read())

    def stop(self):
        if self.process and self.process.poll() is None:
            os.kill(self.pid(), signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process = None

    def read(self, file):
        with open(f"/proc/{self.pid()}/{file}") as text:
            return text.read()

    def field(self, file, name):
        return int(next(line for line in self.read(file).splitlines() if line.startswith(name + ":")).split()[1])

    def memory(self):
        """Returns the resident and the proportional memory in MiB."""
        return {"rss": self.field("status", "VmRSS") / 1024, "pss": self.field("smaps_rollup", "Pss") / 1024}

    def peak(self):
        return self.field("status", "VmHWM") / 1024

    def cpu(self):
        after_name = self.read("stat").rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")

    def written(self):
        return self.field("io", "write_bytes")

    def traced(self):
        """Returns from strace the bytes written to the store's files, and the syncs by name."""
        written, syncs = 0, {}
        for path in glob.glob(os.path.join(self.trace, "of.*")):
            with open(path) as file:
                for call in filter(None, (re.match(r"(\w+)\((?:\d+<([^>]*)>)?.* = (\d+)$", line) for line in file)):
                    name, target, result = call.groups()
                    if name not in WRITES.split(","):
                        syncs[name] = syncs.get(name, 0) + 1
                    elif target and target.startswith(os.path.realpath(self.data) + "/"):
                        written += int(result)
        return written, syncs

    def threads(self):
        """Returns each thread's name, its context switches, and its seconds of processor time."""
        found = {}
        for task in glob.glob(f"/proc/{self.pid()}/task/*"):
            try:
                with open(f"{task}/status") as file:
                    status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
                with open(f"{task}/schedstat") as file:
                    computed = int(file.read().split()[0]) / 1e9
                found[os.path.basename(task)] = (status["Name"], int(status["voluntary_ctxt_switches"]), computed)
            except OSError:
                pass  # The thread has ended meanwhile.
        return found


class Offboard(Agent):
    def command(self):
        config = {
            "coreThingName": self.core, "region": "eu-central-1", "dataDir": self.data,
            "mqtt": {"url": f"mqtt://127.0.0.1:{self.broker.port}"},
            "cloud": {"greengrassEndpoint": self.cloud.endpoint}, "batch": {"lingerMs": int(LINGER * 1000)},
            "rate": {"callsPerSecond": RATE, "burst": BURST},
            "retention": {"requestsDays": self.retention / 86400, "tombstonesDays": self.retention / 86400},
        }
        return [self.options.product, "run"], {"OFFBOARD_CONFIG": json.dumps(config)}

    def has_forgotten(self, client):
        token = f"list-{time.monotonic()}"
        # The query is sent as the sender itself, because a list shows the client's own requests.
        topic = f"offboard/{self.core}/commands/{client}/list-requests"
        heard, answers = threading.Event(), []
        asker = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "asker-" + client)
        asker.on_message = lambda c, u, m: (answers.append(json.loads(m.payload)), heard.set())
        asker.on_subscribe = lambda c, *_: c.publish(topic, json.dumps({"clientToken": token, "maxResults": 1}), qos=1)
        asker.connect("127.0.0.1", self.broker.port)
        asker.subscribe(f"offboard/{self.core}/results/{client}/list-requests/accepted", 1)
        asker.loop_start()
        heard.wait(PATIENCE)
        asker.disconnect()
        asker.loop_stop()
        return not answers[0]["requests"] and not self.broker.last_status(self.core)["devices"].get("DISASSOCIATED")


class Peer(Agent):
    # Maximum number of messages in one commit.
    group = 500

    def command(self):
        config = {
            "core": self.core, "port": self.broker.port, "endpoint": self.cloud.endpoint, "dataDir": self.data,
            "linger": LINGER, "rate": RATE, "burst": BURST, "retention": self.retention, "group": self.group,
        }
        return [sys.executable, os.path.join(HERE, "peer", "peer.py")], {"PEER_CONFIG": json.dumps(config)}

    def has_forgotten(self, client):
        db = sqlite3.connect(f"file:{self.data}/peer.db?mode=ro", uri=True)
        left = db.execute("SELECT count(*) FROM requests").fetchone()[0]
        db.close()
        return left == 0


class Simpler(Peer):
    """The simple variant of the peer: one commit for each message."""
    group = 1


class Compiled(Peer):
    """The peer that is written for speed: Rust and SQLite."""

    def command(self):
        return [self.options.compiled], super().command()[1]


# The columns of the table, with Offboard as the last one.
AGENTS = (Peer, Compiled, Offboard)
NAMES = [kind.__name__.lower() for kind in AGENTS]


def load(options, kind, broker, **arguments):
    """Runs the load and returns its measurements."""
    command = [options.sandbox, "load", kind, "--port", str(broker.port)]
    if kind == "commands":
        command += ["--core", arguments.pop("core", CORE)]
    for name, value in arguments.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    if kind == "commands":
        lost = result["sent"] - result["completed"]
        if lost or result["rejected"] or result["notSucceeded"]:
            print(f"  ! of {result['sent']} commands {lost} have no end, {result['rejected']} were rejected, "
                  f"{result['notSucceeded']} did not succeed", file=sys.stderr)
    return result


def since(before, after):
    """Returns by thread name the context switches and the seconds of processor time."""
    by_name = {}
    for task, (name, switches, computed) in after.items():
        _, switches_before, computed_before = before.get(task, (name, 0, 0.0))
        kept = by_name.setdefault(name, [0, 0.0])
        kept[0] += switches - switches_before
        kept[1] += computed - computed_before
    return by_name


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def flush_times(options, seconds, pause=0.0):
    """Returns the microseconds of each append of 4 KiB with its fdatasync, with a pause before each."""
    path, block, times = os.path.join(options.dir, "flushes"), os.urandom(4096), []
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(pause)
        began = time.perf_counter()
        os.write(file, block)
        os.fdatasync(file)
        times.append((time.perf_counter() - began) * 1e6)
    os.close(file)
    os.unlink(path)
    return times


class Table:
    def __init__(self):
        self.rows, self.raw = [], {}

    def add(self, what, values=(), limit="", goal="", better=None, holds=None, unit="", digits=1):
        """`values`: one for each of AGENTS, or one of Offboard. `better`: `less` or `more`."""
        def number(value):
            return "" if value is None else value if isinstance(value, str) else f"{value:,.{digits}f}"
        values = [None] * (len(AGENTS) - len(values)) + list(values)
        *others, own = values
        ratios = [own / other if better == "more" else other / max(1e-9, own) for other in others] if better else []
        row = {"what": what, **dict(zip(NAMES, values)), "unit": unit, "limit": limit, "goal": goal, "ratios": ratios,
               "holds": holds}
        self.rows.append(row)
        unit_ = f", {unit}" if unit else ""
        cells = [what + unit_, *map(number, values), limit, goal, " ".join(f"{ratio:.1f}x" for ratio in ratios),
                 "" if holds is None else "yes" if holds else "NO"]
        row["cells"] = cells
        print("  " + " | ".join(cell for cell in cells if cell), file=sys.stderr)

    def show(self):
        head = ["what", *NAMES, "limit here", "goal", "better by", "holds?"]
        lines = [head] + [row["cells"] for row in self.rows]
        widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
        def text(line):
            cells = [line[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
            return ("| " + " | ".join(cells) + " |").rstrip()
        print(text(head))
        print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
        for row in self.rows:
            print(text(row["cells"]))


# --- the measures -------------------------------------------------------------------------------

def limits(options, table):
    """The limits of this machine's disk, broker and stand-in alone."""
    times = flush_times(options, 1 if options.quick else 3)
    table.add("flushes a second: fdatasync of 4 KiB appended", limit=f"{1e6 * len(times) / sum(times):,.0f}")
    table.add("one flush, p50 and p99", limit=f"{percentile(times, .5):,.0f} {percentile(times, .99):,.0f} us")
    for label, more in (("as it comes", AS_IT_COMES), ("raised", RAISED)):
        with ExitStack() as stack:
            broker = Broker(stack, options.dir, more)
            count = 20_000 if options.quick else 100_000
            plain = load(options, "messages", broker, messages=count)
            rate = plain["received"] / plain["seconds"]
            table.add(f"Mosquitto's own QoS 1 messages a second, {label}", limit=f"{rate:,.0f}")
            hops = load(options, "messages", broker, messages=300, window=1, pause_ms=2)["waits"]
            table.add(f"one message through Mosquitto, p50 and p99, {label}",
                      limit=f"{percentile(hops, .5):,.0f} {percentile(hops, .99):,.0f} us")
    with ExitStack() as stack:
        cloud = Cloud(stack, options)
        address = urlparse(cloud.environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
        connection = http.client.HTTPConnection(address.hostname, address.port)
        headers = {"Authorization": cloud.environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"]}
        times = []
        for _ in range(500):
            began = time.perf_counter()
            connection.request("GET", address.path, headers=headers)
            connection.getresponse().read()
            times.append((time.perf_counter() - began) * 1e6)
        table.add("one HTTP round trip to the stand-in, p50", limit=f"{percentile(times, .5):,.0f} us")


def storeless(options, broker, **arguments):
    with ExitStack() as stack:
        command = [options.sandbox, "load", "storeless", "--port", str(broker.port), "--core", CORE]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        stack.callback(stop, process)
        process.stdout.readline()
        return load(options, "commands", broker, **arguments)


def rate(options, table):
    """Single-device commands a second, with 500 unanswered commands at a time."""
    raw = table.raw.setdefault("rate", [])
    for label, more in (("", AS_IT_COMES), (", limit raised", RAISED)):
        for senders in (1, 50):
            many = 2_000 if options.quick else 10_000
            arguments = {"senders": senders, "window": 500, "commands": many, "seconds": 10}
            found = {}
            with ExitStack() as stack:
                broker = Broker(stack, options.dir, more)
                found["storeless"] = storeless(options, broker, **(arguments | {"commands": 3 * many}))
            kinds = AGENTS if label or senders > 1 else (*AGENTS, Simpler)
            for kind in kinds:
                with ExitStack() as stack:
                    broker, cloud = Broker(stack, options.dir, more), Cloud(stack, options, many)
                    agent = kind(stack, options, broker, cloud)
                    agent.start_in_sync(many)
                    cpu, calls, written = agent.cpu(), len(cloud.calls()), agent.written()
                    threads = agent.threads()
                    result = load(options, "commands", broker, **arguments)
                    result["cpu"], result["written"] = agent.cpu() - cpu, agent.written() - written
                    result["threads"] = since(threads, agent.threads())
                    made = cloud.calls()[calls:]
                    result["calls"] = len(made)
                    result["cloudSeconds"] = sum(call["ended"] - call["at"] for call in made)
                    found[agent.name] = result
            raw.append({"senders": senders, "broker": label, "found": found})
            results = [found[name] for name in NAMES]
            for end in ("Accepted", "Completed"):
                *rates, bound = [one[end.lower()] / one[f"secondsTo{end}"] for one in (*results, found["storeless"])]
                peer, compiled, own = rates
                goal = ">= 2 x peer, > compiled" + (", >= storeless / 2" if end == "Accepted" else "")
                holds = own >= 2 * peer and own > compiled and (end == "Completed" or own >= bound / 2)
                table.add(f"commands a second to {end.lower()}, {senders} sender{'s' * (senders > 1)}{label}", rates,
                          f"storeless {bound:,.0f}", goal, "more", holds, digits=0)
            if simpler := found.get("simpler"):
                table.add("  the same from a peer that commits each message by itself",
                          (simpler["completed"] / simpler["secondsToCompleted"], None, None), digits=0)
            each = [1000 * one["cpu"] / one["sent"] for one in results]
            table.add("  CPU seconds for each 1,000 of them", each, goal="<= 0.12, <= 1/3 of peer", better="less",
                      holds=each[-1] <= min(0.12, each[0] / 3), digits=3)
            least = [math.ceil(one["sent"] / 100) for one in results]
            calls = [f"{one['calls']} ({n})" for one, n in zip(results, least)]
            table.add("  cloud calls, and the fewest possible", calls, goal="fewest +- 5%", holds=results[-1]["calls"] <= 1.05 * least[-1])
            shares = [one["computed"] / one["secondsToCompleted"] for one in results]
            table.add("  the load's own CPU, share of a core", shares, digits=2)


def latency(options, table):
    """One command at a time on an idle agent."""
    count = 50 if options.quick else 200
    for label, more in (("", AS_IT_COMES), (", limit raised", RAISED)):
        found = {}
        with ExitStack() as stack:
            broker = Broker(stack, options.dir, more)
            hops = load(options, "messages", broker, messages=300, window=1, pause_ms=5)["waits"]
            # The processors sleep between two commands, and so does the disk.
            rare_hops = load(options, "messages", broker, messages=count // 2, window=1, pause_ms=PACE_MS)["waits"]
        flushes, rare_flushes = flush_times(options, 1), flush_times(options, count * PACE_MS / 2000, PACE_MS / 1000)
        for kind in AGENTS:
            with ExitStack() as stack:
                broker, cloud = Broker(stack, options.dir, more), Cloud(stack, options, 1000)
                agent = kind(stack, options, broker, cloud)
                agent.start_in_sync(1000)
                calls = len(cloud.calls())
                waits = load(options, "commands", broker, commands=count, group=1, pause_ms=20)["waits"]
                made = cloud.calls()[calls:]
                own = [(call["ended"] - call["at"]) * 1e6 for call in made]
                beyond = [wait[1] - time for wait, time in zip(waits, own)] if len(own) == len(waits) else []
                found[agent.name] = {"accepted": [wait[0] for wait in waits], "beyond": beyond}
        # A disk that was busy before must not relax the goal.
        flushes = min(flushes, flush_times(options, 1), key=statistics.median)
        table.raw["latency" + label] = found | {"hops": hops, "flushes": flushes, "rareHops": rare_hops, "rareFlushes": rare_flushes}
        hop, flush = percentile(hops, .5), percentile(flushes, .5)
        goal, rare = 1.3 * (flush + 2 * hop), percentile(rare_flushes, .5) + 2 * percentile(rare_hops, .5)
        for end, text in (("accepted", "to accepted"), ("beyond", f"to completed beyond the cloud's time, {LINGER * 1e3:.0f} ms of it linger")):
            for share in (.5, .99):
                waits = [percentile(found[name][end], share) / 1e3 for name in NAMES]
                judged = end == "accepted" and share == .5
                table.add(f"latency, idle, {text}, p{share * 100:.0f}{label}", waits, unit="ms", digits=2, better="less",
                          limit=f"flush {flush / 1e3:.2f}, hop {hop / 1e3:.2f}; one flush and two hops at this pace "
                          f"{rare / 1e3:.2f}" if judged else "",
                          goal=f"<= {goal / 1e3:.2f}" if judged else "", holds=waits[-1] * 1e3 <= goal if judged else None)


def steady(options, table):
    """The time to `accepted` at 50 commands a second, above all the longest."""
    seconds, found = 10 if options.quick else 60, {}
    flushes = flush_times(options, 1 if options.quick else 3)
    for kind in AGENTS:
        with ExitStack() as stack:
            # With TCP_NODELAY, because Mosquitto's own delays are longer than the measured ones.
            broker, cloud = Broker(stack, options.dir, RAISED), Cloud(stack, options, 50 * seconds)
            agent = kind(stack, options, broker, cloud)
            agent.start_in_sync(50 * seconds)
            waits = load(options, "commands", broker, commands=50 * seconds, every_ms=20)["waits"]
            found[agent.name] = [accepted for accepted, _ in waits]
    flushes = min(flushes, flush_times(options, 1 if options.quick else 3), key=statistics.median)
    table.raw["steady"] = found | {"flushes": flushes}
    flush = percentile(flushes, .5) / 1e3
    for share, text in ((.5, "p50"), (.999, "p99.9"), (1, "the longest")):
        waits = [percentile(found[name], share) / 1e3 for name in NAMES]
        table.add(f"50 commands a second for {seconds} s, to accepted, {text}", waits, unit="ms", digits=2, better="less",
                  limit=f"flush, {text}: {percentile(flushes, share) / 1e3:.2f}", goal=f"<= {flush + 20:.2f}" if share == 1 else "",
                  holds=waits[-1] <= flush + 20 if share == 1 else None)


def fleet(options, table):
    """Memory, start-up and long requests, by the number of devices."""
    sizes = (0, 1_000, 10_000) if options.quick else (0, 1_000, 10_000, 100_000)
    found = {kind: {} for kind in AGENTS}
    for devices in sizes:
        for kind in AGENTS:
            with ExitStack() as stack:
                broker, cloud = Broker(stack, options.dir), Cloud(stack, options, devices)
                agent = kind(stack, options, broker, cloud)
                one = found[kind][devices] = {"sync": agent.start_in_sync(devices)}
                time.sleep(3)
                one["memory"] = agent.memory()
                one["starts"] = []
                for _ in range(3):
                    agent.stop()
                    one["starts"].append(agent.start())
                if devices:
                    agent.until_in_sync(devices, time.monotonic() - one["starts"][-1])
                    cpu, calls = agent.cpu(), len(cloud.calls())
                    in_each = min(devices, 2500)
                    row = load(options, "commands", broker, commands=devices // in_each, entries=in_each)
                    one["row"] = {"seconds": row["secondsToCompleted"], "accepted": row["secondsToAccepted"],
                                  "calls": len(cloud.calls()) - calls, "cpu": agent.cpu() - cpu, "peak": agent.peak()}
    table.raw["fleet"] = {kind.__name__: found[kind] for kind in AGENTS}
    results = [found[kind] for kind in AGENTS]
    for devices in sizes:
        if devices == 1_000:
            continue
        for kind, text in (("pss", "proportional"), ("rss", "resident")):
            values = [one[devices]["memory"][kind] for one in results]
            judged = devices == 10_000 and kind == "pss"
            table.add(f"memory, idle, {devices:,} devices, {text}", values, unit="MiB", better="less",
                      goal="<= 10 MiB" if judged else "", holds=values[-1] <= 10 if judged else None)
    for devices in (sizes[0], sizes[-1]):
        values = [statistics.median(one[devices]["starts"]) * 1e3 for one in results]
        judged = devices == 100_000
        table.add(f"start-up to ONLINE, {devices:,} devices in the store", values, unit="ms", digits=0, better="less",
                  goal="<= 30 ms" if judged else "", holds=values[-1] <= 30 if judged else None)
    for devices in sizes[2:]:
        table.add(f"first start until {devices:,} devices are in sync", [one[devices]["sync"] for one in results], unit="s",
                  better="less")
    for devices in sizes[1:]:
        rows = [one[devices]["row"] for one in results]
        values = [row["seconds"] for row in rows]
        table.add(f"{devices:,} devices in a row of commands, to completed", values, unit="s", digits=2, better="less",
                  goal="<= 1/2 of peer", holds=values[-1] <= values[0] / 2)
        calls = [row["calls"] for row in rows]
        table.add("  cloud calls", calls, digits=0, goal=f"{devices // 100}", holds=calls[-1] == devices // 100)
    each = [[1e6 * one[devices]["row"]["seconds"] / devices for devices in sizes[1:]] for one in results]
    table.add("  microseconds for each device, by their number", [" ".join(f"{n:,.0f}" for n in one) for one in each],
              goal="last <= 1.2 x first", holds=each[-1][-1] <= 1.2 * each[-1][0])


def peak(options, table):
    """Memory and start-up with an open entry for each of many devices, without the cloud."""
    devices = 10_000 if options.quick else 100_000
    found, commands = {}, devices // 2500
    for kind in AGENTS:
        with ExitStack() as stack:
            broker, cloud = Broker(stack, options.dir), Cloud(stack, options, devices)
            agent = kind(stack, options, broker, cloud)
            samples, over = [], threading.Event()
            def sample():
                while not over.wait(0.05):
                    try:
                        samples.append(agent.memory()["pss"])
                    except (AttributeError, OSError, StopIteration):
                        pass  # The agent is between two starts.
            agent.start_in_sync(devices)
            sampler = threading.Thread(target=sample, daemon=True)
            sampler.start()
            cloud.ask("POST", "/offline", {"offline": True})
            for n in range(commands):
                broker.send(n, (f"device-{device:04}" for device in range(n * 2500 + 1, (n + 1) * 2500 + 1)))
            broker.answered("accepted", commands)
            peaks, starts = [agent.peak()], []
            for _ in range(3):
                agent.stop()
                starts.append(agent.start())
            cloud.ask("POST", "/offline", {"offline": False})
            broker.answered("completed", commands)
            peaks.append(agent.peak())
            over.set()
            sampler.join()
            found[agent.name] = {"rss": max(peaks), "pss": max(samples), "starts": starts}
    table.raw["peak"] = found
    for kind, text in (("rss", "resident"), ("pss", "proportional, sampled")):
        values = [found[name][kind] for name in NAMES]
        judged = kind == "rss" and devices == 100_000
        table.add(f"memory, peak, {devices:,} devices with an open entry each, {text}", values, unit="MiB", better="less",
                  goal="<= 48 MiB" if judged else "", holds=values[-1] <= 48 if judged else None)
    values = [statistics.median(found[name]["starts"]) * 1e3 for name in NAMES]
    judged = devices == 100_000
    table.add(f"start-up to ONLINE, {devices:,} entries open", values, unit="ms", digits=0, better="less",
              goal="<= 500 ms" if judged else "", holds=values[-1] <= 500 if judged else None)


def idle(options, table):
    """Idle agents, and the bytes that commands write until their requests are deleted."""
    seconds = 20 if options.quick else 120
    groups = {"groups": 20, "alone": 1}
    found = {}
    with ExitStack() as stack:
        broker, cloud = Broker(stack, options.dir), Cloud(stack, options)
        idlers, writers = {}, {}
        for kind in AGENTS:
            names = [f"{kind.__name__}-{what}" for what in ("idle", *groups)]
            for core in names:
                cloud.ask("POST", "/associate", {"core": core, "things": [f"device-{n:04}" for n in range(1, 1001)]})
            idlers[kind] = kind(stack, options, broker, cloud, names[0])
            # The requests are deleted soon after they are completed: the agent checks every two
            # minutes.
            writers[kind] = [kind(stack, options, broker, cloud, core, retention=10, trace=True) for core in names[1:]]
        for agent in [*idlers.values(), *(agent for pair in writers.values() for agent in pair)]:
            agent.start_in_sync(1000)
        time.sleep(15)
        began = time.monotonic()
        before = {kind: (agent.threads(), agent.written()) for kind, agent in idlers.items()}
        counts = (200, 20) if options.quick else (1000, 200)
        def counters(agent):
            handed, syncs = agent.traced()
            return handed, agent.written(), flushing(syncs)
        first = {agent: counters(agent) for pair in writers.values() for agent in pair}
        def write(agent, what, count):
            load(options, "commands", broker, core=agent.core, commands=count, group=groups[what], prefix=agent.core)
            def each():
                return [(now - then) / count for now, then in zip(counters(agent), first[agent])]
            completed = each()
            wait_until("the completed requests are deleted", lambda: agent.has_forgotten(f"{agent.core}-0"), pace=5)
            time.sleep(3)
            found[agent.core] = {"completed": completed, "forgotten": each()}
        threads = [threading.Thread(target=write, args=(agent, what, count))
                   for pair in writers.values() for agent, what, count in zip(pair, groups, counts)]
        for thread in threads:
            thread.start()
        time.sleep(max(0, began + seconds - time.monotonic()))
        took = time.monotonic() - began
        for kind, agent in idlers.items():
            threads_before, written = before[kind]
            by_name = since(threads_before, agent.threads())
            found[agent.core] = {
                "wakeups": sum(one[0] for one in by_name.values()) * 60 / took,
                "cpu": sum(one[1] for one in by_name.values()) * 60 / took,
                "seconds": took, "threads": by_name, "written": (agent.written() - written) * 3600 / took,
            }
        for thread in threads:
            thread.join()
    table.raw["idle"] = found
    results = [found[f"{kind.__name__}-idle"] for kind in AGENTS]
    wakeups, written = [one["wakeups"] for one in results], [one["written"] for one in results]
    table.add(f"idle: wake-ups a minute, over {took:.0f} s", wakeups, digits=0, goal="<= 12", better="less", holds=wakeups[-1] <= 12)
    table.add("idle: CPU ms a minute", [one["cpu"] * 1e3 for one in results], better="less")
    table.add(f"idle: bytes written an hour, extrapolated from {took:.0f} s", written, digits=0, goal="0", holds=written[-1] == 0)
    for what, text, most in (("groups", "in groups of 20", 5), ("alone", "alone", 12)):
        each = {end: list(zip(*(found[f"{kind.__name__}-{what}"][end] for kind in AGENTS))) for end in ("completed", "forgotten")}
        for end, (handed, _, _) in each.items():
            handed = [bytes_ / 1024 for bytes_ in handed]
            holds = handed[-1] <= (min(most, handed[0]) if what == "groups" else most)
            goal = f"<= {most} KiB" + (", <= peer" if what == "groups" else "")
            table.add(f"written for each command, {text}, until {end}", handed, unit="KiB", better="less",
                      goal=goal if end == "forgotten" else "", holds=holds if end == "forgotten" else None)
        _, dirtied, syncs = each["forgotten"]
        table.add("  pages made dirty for it", [bytes_ / 1024 for bytes_ in dirtied], unit="KiB", better="less")
        table.add("  syncs for it", syncs, digits=2, better="less", goal="<= 3" if what == "alone" else "",
                  holds=syncs[-1] <= 3 if what == "alone" else None)


def fsyncs(options, table):
    """Syncs under load, counted by strace in a separate run, since strace slows the agent down."""
    found = {}
    many = 1_000 if options.quick else 4_000
    for kind in AGENTS:
        with ExitStack() as stack:
            broker, cloud = Broker(stack, options.dir), Cloud(stack, options, many)
            agent = kind(stack, options, broker, cloud, trace=True)
            agent.start_in_sync(many)
            time.sleep(1)
            _, before = agent.traced()
            result = load(options, "commands", broker, commands=many, window=500, seconds=20)
            time.sleep(1)
            _, after = agent.traced()
            found[agent.name] = {name: (after[name] - before.get(name, 0)) / result["sent"] for name in after}
    table.raw["fsyncs"] = found
    flushed = [flushing(found[name]) for name in NAMES]
    table.add("fsyncs and fdatasyncs for each command under load", flushed, digits=3, better="less", goal="<= 0.06",
              holds=flushed[-1] <= 0.06)
    table.add("  sync_file_range, which flushes no disk's cache", [found[name].get("sync_file_range", 0) for name in NAMES], digits=3)


def flushing(syncs):
    """Returns the number of syncs that flush the disk's cache."""
    return sum(count for name, count in syncs.items() if name != "sync_file_range")


def size(options, table):
    """Size of the binaries, for aarch64 too if `artifacts/build.sh` has built it."""
    here = os.path.getsize(options.product) / 2**20
    table.add(f"binary, stripped, {platform.machine()}", (None, os.path.getsize(options.compiled) / 2**20, here), unit="MiB", digits=2)
    arm = os.path.join(HERE, "..", "target", "artifacts", "offboard-aarch64")
    if os.path.exists(arm):
        mib = os.path.getsize(arm) / 2**20
        table.add("binary, stripped, aarch64", [mib], unit="MiB", digits=2, goal="<= 8 MiB", holds=mib <= 8)
    else:
        table.add("binary, stripped, aarch64", ["artifacts/build.sh aarch64"], goal="<= 8 MiB")
    table.add("  by part", ["artifacts/sizes"])


MEASURES = {one.__name__: one for one in (limits, rate, latency, steady, fleet, peak, idle, fsyncs, size)}


def machine(options):
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    disk = subprocess.run(["df", "--output=source,fstype", options.dir], stdout=subprocess.PIPE, text=True).stdout.split("\n")[1].split()
    return (f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} x {model}, Linux {platform.release()}, {disk[1]}, "
            f"Python {platform.python_version()}, load average {os.getloadavg()[0]:.2f} before it")


def main():
    texts = "\n".join(f"  {name:8} {one.__doc__.splitlines()[0]}" for name, one in MEASURES.items())
    parser = argparse.ArgumentParser(prog="benches/run", formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description="Compares Offboard with two peers and with this machine's limits.",
                                     epilog=f"Measures, all of them if none is named:\n{texts}")
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help="what to measure")
    parser.add_argument("--quick", action="store_true", help="smaller loads, to try the script; the figures are not valid")
    parser.add_argument("--json", metavar="FILE", help="writes the rows and the raw data to FILE")
    parser.add_argument("--dir", help="directory of the stores, on a real disk [default: below the build's directory]")
    parser.add_argument("--verbose", action="store_true", help="shows the agents' standard error")
    parser.add_argument("--target", default="target", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.measures) - set(MEASURES)
    if unknown:
        parser.error(f"no such measure: {', '.join(unknown)}")
    release = os.path.join(os.path.abspath(options.target), "release")
    options.product, options.sandbox = os.path.join(release, "offboard"), os.path.join(release, "offboard-sandbox")
    options.compiled = os.path.join(os.path.abspath(options.target), "bench-peer", "release", "offboard-peer")
    table, began = Table(), time.monotonic()
    about = machine(options_with_dir(options))
    try:
        for name, measure in MEASURES.items():
            if not options.measures or name in options.measures:
                print(f"{name}: {measure.__doc__.splitlines()[0]}", file=sys.stderr)
                measure(options, table)
    finally:
        shutil.rmtree(options.dir, ignore_errors=True)
    print(about + (", quick: these are no figures" if options.quick else ""))
    print("Agent, broker, stand-in and load share the processors. All agents: same broker, same stand-in,"
          f" {RATE} calls a second allowed, {LINGER * 1e3:.0f} ms linger.\n")
    table.show()
    judged = [row for row in table.rows if row["holds"] is not None]
    missed = [row["what"].strip() for row in judged if not row["holds"]]
    print(f"\n{len(judged) - len(missed)} of {len(judged)} goals hold; took {time.monotonic() - began:.0f} s")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"machine": about, "quick": options.quick, "rows": table.rows, "raw": table.raw}, file, indent=1)


def options_with_dir(options):
    options.dir = tempfile.mkdtemp(prefix="bench-", dir=options.dir or options.target)
    return options


if __name__ == "__main__":
    main()
