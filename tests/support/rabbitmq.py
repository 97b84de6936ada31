"""A private RabbitMQ: own node name, ports, cookie, home and epmd, so that it meets no other one on the machine."""

import os
import secrets
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from tests.support.harness import harness
from tests.support.process import discard, end, free_ports, new_home, spawn, wait_for_port, write_certificate

SCRIPTS = Path(os.environ.get("RABBITMQ_SCRIPTS", "/usr/lib/rabbitmq/bin"))
USER = "penstock"

MAKE_VHOSTS = """
[begin
   ok = rabbit_vhost:add(N, <<"test">>),
   rabbit_auth_backend_internal:set_permissions(<<"{user}">>, N, <<".*">>, <<".*">>, <<".*">>, <<"test">>)
 end || N <- [{names}]], ok.
"""


@dataclass(frozen=True)
class RabbitMQ:
    """A broker that runs. Only `base_url` is set when it came from `AMQP_URL`: `ctl` and `evaluate` then raise."""

    base_url: str  # of the vhost `/`
    tls_base_url: str = ""
    cafile: str = ""
    node: str = ""
    home: str = ""
    epmd_port: int = 0

    @property
    def ours(self) -> bool:
        """Whether we started it, so that `ctl`, `evaluate`, vhosts and TLS are there."""
        return bool(self.node)

    def url(self, vhost: str = "/") -> str:
        """The AMQP URL of a vhost, with the user and the password."""
        return _with_vhost(self.base_url, vhost)

    def tls_url(self, vhost: str = "/") -> str:
        """The same over TLS; the certificate is checked with `cafile`, for `localhost` and 127.0.0.1."""
        return _with_vhost(self.tls_base_url, vhost)

    def ctl(self, *args: str) -> str:
        """Run `rabbitmqctl` (1 to 2 s: it starts an Erlang of its own) and return what it printed."""
        self._must_be_ours()
        command: list[str | Path] = [SCRIPTS / "rabbitmqctl", "--quiet", "--node", self.node, *args]
        return _run(command, environment(self.home, self.node, self.epmd_port))

    def evaluate(self, expression: str) -> str:
        """Evaluate Erlang in the broker (10 ms) and return the value as Erlang writes it. Raises when it fails."""
        self._must_be_ours()
        caller = f"call-{uuid.uuid4().hex[:12]}"  # two callers of one name would push each other out
        command: list[str | Path] = ["erl_call", "-sname", self.node, "-h", caller, "-c", _cookie(self.home), "-e"]
        form = expression.strip().removesuffix(".") + ".\n"
        answer = _run(command, environment(self.home, self.node, self.epmd_port), form)
        if not answer.startswith("{ok, "):
            raise RuntimeError(f"the broker answered {answer!r}")
        return answer.removeprefix("{ok, ").removesuffix("}")

    def add_vhosts(self, *names: str) -> None:
        """Make vhosts that our user may do everything in (30 ms each)."""
        quoted = ", ".join(f'<<"{name}">>' for name in names)
        self.evaluate(MAKE_VHOSTS.format(user=USER, names=quoted))

    def delete_vhost(self, name: str) -> None:
        """Delete a vhost with its queues and connections; the broker does it on its own time."""
        self.evaluate(f'spawn(fun() -> rabbit_vhost:delete(<<"{name}">>, <<"test">>) end), ok')

    def _must_be_ours(self) -> None:
        if not self.ours:
            raise RuntimeError("the broker came from AMQP_URL: a test that must control one uses private_rabbitmq()")


class RabbitMQServer:
    """A broker's processes (epmd and the node) and its directory; the data stays over `stop` and `start`."""

    @harness()
    def __init__(self, *, settings: str = "") -> None:
        self._home = new_home("penstock-rabbitmq")
        self._log = self._home / "server.log"
        self._port, self._tls_port, self._dist_port, self._epmd_port = free_ports(4)
        self._password = secrets.token_urlsafe(12)
        self._settings = settings
        self._node = f"penstock-{uuid.uuid4().hex[:12]}@localhost"
        self._children: list[subprocess.Popen[bytes]] = []
        self._write_files()

    @property
    def broker(self) -> RabbitMQ:
        """How to reach it."""
        login = f"{USER}:{self._password}@"
        return RabbitMQ(
            base_url=f"amqp://{login}127.0.0.1:{self._port}/",
            tls_base_url=f"amqps://{login}127.0.0.1:{self._tls_port}/",
            cafile=str(self._home / "ca.pem"),
            node=self._node,
            home=str(self._home),
            epmd_port=self._epmd_port,
        )

    @property
    def pid(self) -> int:
        """The node's process id."""
        return self._children[-1].pid

    @harness()
    def start(self) -> RabbitMQ:
        """Start and wait until both listeners accept (4 to 8 s)."""
        env = environment(str(self._home), self._node, self._epmd_port) | {
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            # Without input the script becomes the node itself; else a shell stays between us and it.
            "RABBITMQ_ALLOW_INPUT": "true",
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
            # No busy waiting: two cores are shared with the tests.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -start_epmd false"
            " -kernel inet_dist_use_interface {127,0,0,1}",
        }
        epmd = ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"]
        self._children.append(spawn(epmd, env, self._log))
        wait_for_port(self._epmd_port, self._children[0], self._log)
        self._children.append(spawn([SCRIPTS / "rabbitmq-server"], env, self._log))
        # The TLS listener is the last to come.
        wait_for_port(self._port, self._children[-1], self._log)
        wait_for_port(self._tls_port, self._children[-1], self._log)
        return self.broker

    @harness()
    def stop(self) -> None:
        """Stop it in order: durable data is kept for the next `start`."""
        self._end(signal.SIGTERM)

    @harness()
    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    @harness()
    def discard(self) -> None:
        """Kill it and remove its directory."""
        self.kill()
        discard(self._home)

    def _end(self, sig: int) -> None:
        while self._children:
            end(self._children.pop(), sig)

    def _write_files(self) -> None:
        cookie = self._home / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        ca, certificate, key = write_certificate(self._home)
        (self._home / "empty").touch()
        (self._home / "plugins").write_text("[].\n")
        (self._home / "rabbitmq.conf").write_text(
            f"""listeners.tcp.1 = 127.0.0.1:{self._port}
listeners.ssl.1 = 127.0.0.1:{self._tls_port}
ssl_options.cacertfile = {ca}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
ssl_options.verify = verify_none
default_user = {USER}
default_pass = {self._password}
disk_free_limit.absolute = 50MB
log.file = node.log
{self._settings}
"""
        )


@contextmanager
def private_rabbitmq(*, settings: str = "") -> Iterator[RabbitMQServer]:
    """A broker for one test that kills, restarts or blocks it, started; `settings` are lines for its rabbitmq.conf."""
    server = RabbitMQServer(settings=settings)
    try:
        server.start()
        yield server
    finally:
        server.discard()


def environment(home: str, node: str, epmd_port: int) -> dict[str, str]:
    """What the server, `rabbitmqctl` and `erl_call` need; nothing of the machine's own RabbitMQ is read."""
    base = Path(home)
    return {
        "PATH": f"{os.environ.get('PATH', '')}:/usr/local/bin:/usr/bin:/bin:/usr/sbin",
        "LANG": "C.UTF-8",
        "HOME": home,
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": node,
        "RABBITMQ_BASE": home,
        "RABBITMQ_MNESIA_BASE": str(base / "mnesia"),
        "RABBITMQ_LOG_BASE": str(base / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(base / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(base / "empty"),
        "RABBITMQ_CONFIG_FILE": str(base / "rabbitmq.conf"),
        "RABBITMQ_CONFIG_FILES": str(base / "conf.d"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(base / "advanced.config"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(base / "generated"),
        "RABBITMQ_PID_FILE": str(base / "pid"),
    }


def available() -> bool:
    """Whether the server's programs are on this machine."""
    return (SCRIPTS / "rabbitmq-server").exists() and shutil.which("epmd") is not None


def _cookie(home: str) -> str:
    return (Path(home) / ".erlang.cookie").read_text()


def _with_vhost(url: str, vhost: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path="/" + quote(vhost, safe="")))


@harness()
def _run(command: list[str | Path], env: dict[str, str], stdin: str | None = None) -> str:
    done = subprocess.run(command, env=env, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} exited {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout
