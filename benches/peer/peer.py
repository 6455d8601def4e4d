"""A careful Python component that one might write instead of Offboard; `benches/run` measures it.

It has the same topics and guarantees on the main path: a command is in SQLite (WAL,
synchronous=FULL) before its `accepted` and its PUBACK, messages that arrived together are committed
together, calls have up to 100 devices, and a result is kept until the broker has it. It omits:
queries, cancel, expiry, guards, Superseded, opposite requests, SiteWise, a damaged store, the local
socket.
"""

import collections, hashlib, json, os, queue, random, signal, socket, sqlite3, threading, time
from datetime import datetime, timezone

import boto3
import paho.mqtt.client as mqtt
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

CONFIG = json.loads(os.environ["PEER_CONFIG"])
CORE, ROOT, OPERATION = CONFIG["core"], f"offboard/{CONFIG['core']}", "disassociate-client-devices"
SCHEMA = """
PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS devices (name TEXT PRIMARY KEY, since REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY, client TEXT, token TEXT, content BLOB, entries INTEGER,
  open INTEGER, errors TEXT DEFAULT '[]', accepted REAL, completed REAL, acknowledged INTEGER DEFAULT 0,
  UNIQUE (client, token));
CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, thing TEXT, request INTEGER);
CREATE INDEX IF NOT EXISTS by_thing ON entries (thing);
CREATE INDEX IF NOT EXISTS by_completed ON requests (completed) WHERE completed IS NOT NULL;
CREATE INDEX IF NOT EXISTS unacknowledged ON requests (id) WHERE completed IS NOT NULL AND acknowledged = 0;
"""


def iso(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Peer:
    def __init__(self):
        os.makedirs(CONFIG["dataDir"], mode=0o700, exist_ok=True)
        self.db = sqlite3.connect(os.path.join(CONFIG["dataDir"], "peer.db"), check_same_thread=False)
        self.db.row_factory = sqlite3.Row
        self.db.executescript(SCHEMA)
        self.lock, self.inbox, self.work = threading.Lock(), queue.Queue(), threading.Event()
        self.unpublished = collections.deque()
        self.rate_lock, self.tokens, self.filled = threading.Lock(), CONFIG["burst"], time.monotonic()
        self.mqtt = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, f"{CORE}-offboard", clean_session=False, manual_ack=True)
        self.mqtt.max_inflight_messages_set(100)
        self.mqtt.will_set(f"{ROOT}/status", '{"state":"OFFLINE"}', qos=1, retain=True)
        self.mqtt.on_socket_open = lambda c, u, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.mqtt.on_connect = self.on_connect
        self.mqtt.on_message = lambda client, userdata, message: self.inbox.put(message)
        # The library holds a lock during this callback; the thread that commits finds the published
        # messages.
        self.mqtt.on_publish = lambda *_: self.inbox.put(None)

    def run(self):
        for thread in (self.take_commands, self.talk_to_the_cloud, self.prune):
            threading.Thread(target=thread, daemon=True).start()
        self.mqtt.connect("127.0.0.1", CONFIG["port"], keepalive=30)
        signal.signal(signal.SIGTERM, lambda *_: self.stop())
        self.mqtt.loop_forever(retry_first_connection=True)

    def stop(self):
        self.mqtt.publish(f"{ROOT}/status", '{"state":"OFFLINE"}', qos=1, retain=True)
        self.mqtt.disconnect()

    def on_connect(self, client, userdata, flags, reason, properties):
        client.subscribe(f"{ROOT}/commands/+/+", qos=1)
        self.publish_status()
        with self.lock:
            select = "SELECT * FROM requests WHERE completed IS NOT NULL AND acknowledged = 0"
            unacknowledged = self.db.execute(select).fetchall()
        for request in unacknowledged:
            self.publish_completed(request)
        self.work.set()

    def publish_status(self, synced=None):
        with self.lock:
            devices = self.db.execute("SELECT count(*) FROM devices").fetchone()[0]
        body = {"state": "ONLINE", "devices": {"ASSOCIATED": devices}, **({"lastSyncAt": iso(synced)} if synced else {})}
        self.mqtt.publish(f"{ROOT}/status", json.dumps(body), qos=1, retain=True)

    def publish_result(self, client, kind, body):
        return self.mqtt.publish(f"{ROOT}/results/{client}/{OPERATION}/{kind}", json.dumps(body), qos=1)

    def publish_completed(self, request):
        errors, entries = json.loads(request["errors"]), request["entries"]
        status = "SUCCEEDED" if not errors else "FAILED" if len(errors) == entries else "PARTIALLY_SUCCEEDED"
        body = {"clientToken": request["token"], "operation": OPERATION, "status": status, "entryCount": entries,
                "succeededCount": entries - len(errors), "failedCount": len(errors), "errorEntries": errors[:100],
                "acceptedAt": iso(request["accepted"]), "completedAt": iso(request["completed"])}
        self.unpublished.append((self.publish_result(request["client"], "completed", body), request["id"]))

    def take_commands(self):
        """Commits all waiting commands and acknowledgements at once; then answers."""
        while True:
            group = [self.inbox.get()]
            while len(group) < CONFIG["group"] and not self.inbox.empty():
                group.append(self.inbox.get())
            commands, acknowledged = [message for message in group if message], []
            while self.unpublished and self.unpublished[0][0].is_published():
                acknowledged.append((self.unpublished.popleft()[1],))
            if not commands and not acknowledged:
                continue
            with self.lock, self.db:
                self.db.executemany("UPDATE requests SET acknowledged = 1 WHERE id = ?", acknowledged)
                answers = [self.take(message) for message in commands]
            for message, (client, kind, body, finished) in zip(commands, answers):
                self.publish_result(client, kind, body)
                self.mqtt.ack(message.mid, message.qos)
                if finished:
                    self.publish_completed(finished)
            if commands:
                self.work.set()

    def take(self, message):
        client, operation = message.topic.split("/")[-2:]
        token = None
        try:
            command = json.loads(message.payload)
            token = command["clientToken"]
            things = list(dict.fromkeys(entry["thingName"] for entry in command["entries"]))
            if operation != OPERATION or not things or not all(isinstance(name, str) and name for name in [token, *things]):
                raise ValueError("not a command that is known")
        except (ValueError, KeyError, TypeError) as error:
            return client, "rejected", {"clientToken": token, "code": "ValidationException", "message": str(error)}, None
        content = hashlib.sha256("\n".join(sorted(things)).encode()).digest()
        known = self.db.execute("SELECT * FROM requests WHERE client = ? AND token = ?", (client, token)).fetchone()
        if known and known["content"] != content:
            return client, "rejected", {"clientToken": token, "code": "ConflictException", "message": "used before"}, None
        now = known["accepted"] if known else time.time()
        if not known:
            insert = "INSERT INTO requests (client, token, content, entries, open, accepted) VALUES (?, ?, ?, ?, ?, ?)"
            request = self.db.execute(insert, (client, token, content, len(things), len(things), now)).lastrowid
            self.db.executemany("INSERT INTO entries (thing, request) VALUES (?, ?)", [(name, request) for name in things])
        body = {"clientToken": token, "operation": OPERATION, "entryCount": len(things), "acceptedAt": iso(now)}
        return client, "accepted", body, known if known and known["completed"] else None

    def talk_to_the_cloud(self):
        # The client is created in this thread, since that takes a while and must not delay the
        # broker's messages. Several threads may use it.
        self.cloud = boto3.client("greengrassv2", region_name="eu-central-1", endpoint_url=CONFIG["endpoint"],
                                  config=Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=30))
        threading.Thread(target=self.sync, daemon=True).start()
        while True:
            self.work.wait()
            self.work.clear()
            failed = 0
            while batch := self.next_batch():
                if len(batch) < 100 and not failed:
                    time.sleep(CONFIG["linger"])
                    batch = self.next_batch()
                self.wait_for_rate()
                try:
                    answer = self.cloud.batch_disassociate_client_device_from_core_device(
                        coreDeviceThingName=CORE, entries=[{"thingName": name} for name in batch])
                except (BotoCoreError, ClientError):
                    failed += 1
                    time.sleep(random.uniform(0, min(300, 2 ** failed)))
                    continue
                failed = 0
                self.settle(batch, {error.get("thingName"): error for error in answer.get("errorEntries", [])})

    def next_batch(self):
        with self.lock:
            rows = self.db.execute("SELECT thing FROM entries ORDER BY id LIMIT 100").fetchall()
        return list(dict.fromkeys(row["thing"] for row in rows))

    def settle(self, batch, errors):
        done, finished = {}, []
        with self.lock, self.db:
            for name in batch:
                for (request,) in self.db.execute("DELETE FROM entries WHERE thing = ? RETURNING request", (name,)).fetchall():
                    done.setdefault(request, []).append(errors.get(name))
            self.db.executemany("DELETE FROM devices WHERE name = ?", [(name,) for name in batch if name not in errors])
            for request, ended in done.items():
                failed = [error for error in ended if error]
                if failed:
                    known = json.loads(self.db.execute("SELECT errors FROM requests WHERE id = ?", (request,)).fetchone()[0])
                    self.db.execute("UPDATE requests SET errors = ? WHERE id = ?", (json.dumps(known + failed), request))
                update = "UPDATE requests SET open = open - ?1, completed = iif(open = ?1, ?2, NULL) WHERE id = ?3 RETURNING *"
                row = self.db.execute(update, (len(ended), time.time(), request)).fetchall()[0]
                if row["open"] == 0:
                    finished.append(row)
        for request in finished:
            self.publish_completed(request)

    def wait_for_rate(self):
        with self.rate_lock:
            now = time.monotonic()
            self.tokens = min(CONFIG["burst"], self.tokens + (now - self.filled) * CONFIG["rate"]) - 1
            self.filled = now
            if self.tokens < 0:
                time.sleep(-self.tokens / CONFIG["rate"])

    def sync(self):
        failed = 0
        while True:
            try:
                self.read_list()
                failed = 0
                time.sleep(3600)
            except (BotoCoreError, ClientError):
                failed += 1
                time.sleep(random.uniform(0, min(300, 2 ** failed)))

    def read_list(self):
        seen, more, began = set(), {}, time.time()
        while more is not None:
            self.wait_for_rate()
            page = self.cloud.list_client_devices_associated_with_core_device(
                coreDeviceThingName=CORE, maxResults=100, **more)
            devices = [(d["thingName"], d["associationTimestamp"].timestamp()) for d in page["associatedClientDevices"]]
            with self.lock, self.db:
                self.db.executemany("INSERT INTO devices VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET since = excluded.since"
                                    " WHERE since <> excluded.since", devices)
            seen.update(name for name, _ in devices)
            more = {"nextToken": page["nextToken"]} if page.get("nextToken") else None
        with self.lock, self.db:
            gone = [(row["name"],) for row in self.db.execute("SELECT name FROM devices") if row["name"] not in seen]
            self.db.executemany("DELETE FROM devices WHERE name = ?", gone)
        self.publish_status(began)

    def prune(self):
        while True:
            with self.lock, self.db:
                kept_from = time.time() - CONFIG["retention"]
                self.db.execute("DELETE FROM requests WHERE completed < ? AND acknowledged = 1", (kept_from,))
            time.sleep(60)


Peer().run()
