"""The servers that the job queues stand on: Debian's PostgreSQL and Redis, nats-server, each fresh, on a loopback port and
in a folder of its own, as durable as it can be told to be."""

import glob
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time

START_WITHIN = 30  # seconds
POSTGRES = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Nothing to do with durability: its default is for machines of long ago, and all queues have the same.
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
}
REDIS = {"appendonly": "yes", "appendfsync": "always", "save": ""}


def fail(why):
    sys.exit(f"bench-workers: {why}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A process in a folder of its own; both go away at the end."""

    def __init__(self, parent, name):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
        self.port = free_port()
        self.log = self.folder / "server.log"
        self.process = None

    def spawn(self, command, **options):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
        until = time.monotonic() + START_WITHIN
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                fail(f"{command[0]} does not start; it said:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres(Server):
    """One server for all samples; each gets a fresh database."""

    def __init__(self, parent):
        super().__init__(parent, "postgres")
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        self.bin = pathlib.Path(found[-1]) if found else fail("PostgreSQL is missing: apt-get install postgresql")
        # It refuses to run as root.
        self.user = {}
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self.user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        cluster = self.folder / "cluster"
        self.run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "-D", cluster)
        settings = [f"--{name}={value}" for name, value in POSTGRES.items()]
        place = ["--listen_addresses=127.0.0.1", f"--port={self.port}", f"--unix_socket_directories={self.folder}"]
        with open(self.log, "ab"):
            pass
        self.spawn([self.bin / "postgres", "-D", cluster, *settings, *place], cwd=self.folder, **self.user)
        self.wait_until_ready()
        self.version = self.run("postgres", "--version").split()[2]
        self.databases = 0

    def wait_until_ready(self):
        ready = [self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        until = time.monotonic() + START_WITHIN
        while subprocess.run(ready, check=False).returncode != 0:
            if time.monotonic() > until:
                fail("PostgreSQL accepts no connections")
            time.sleep(0.05)

    def run(self, program, *arguments):
        done = subprocess.run(
            [self.bin / program, *arguments], cwd=self.folder, capture_output=True, text=True, check=False, **self.user
        )
        if done.returncode != 0:
            fail(f"{program}: {done.stderr}")
        return done.stdout

    def fresh_database(self):
        """The URL of a new one. The one before goes away, and what it left is checkpointed, so that nobody pays for
        another's work."""
        at = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]
        if self.databases:
            self.run("dropdb", *at, "--force", f"bench_{self.databases}")
        self.run("psql", *at, "-qc", "CHECKPOINT", "postgres")
        self.databases += 1
        self.run("createdb", *at, f"bench_{self.databases}")
        return f"postgres://postgres@127.0.0.1:{self.port}/bench_{self.databases}"


class Redis(Server):
    def __init__(self, parent):
        super().__init__(parent, "redis")
        program = shutil.which("redis-server") or fail("Redis is missing: apt-get install redis-server")
        settings = [part for name, value in REDIS.items() for part in (f"--{name}", value)]
        self.spawn([program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), *settings])
        self.url = f"redis://127.0.0.1:{self.port}"


class Nats(Server):
    """`sync` is what its `sync_interval` is set to; `None` leaves it at its default, two minutes."""

    def __init__(self, parent, program, sync):
        super().__init__(parent, "nats")
        interval = f"sync_interval: {sync}" if sync else ""
        config = self.folder / "server.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{self.folder}/store"\n{interval} }}\n'
        )
        self.spawn([program, "-c", str(config)])
        self.url = f"nats://127.0.0.1:{self.port}"
