"""The engines' bridges. Everything here stays between the containers and the bridge of the private namespace."""

from . import images
from .engines import SERVE, Engine, fetch, new_id, wait_for


def test_no_network(engine: Engine) -> None:
    """Only lo, and it is up: a ping to it comes back."""
    script = "ls /sys/class/net; ip -o addr show lo; ping -c 1 -w 20 127.0.0.1 >/dev/null && echo back"
    text = engine.sh(script, "--network", "none")
    assert text.splitlines()[0] == "lo"
    assert "127.0.0.1" in text
    assert text.endswith("back")


def test_two_containers_on_the_bridge(engine: Engine) -> None:
    with engine.container(SERVE, "--hostname", "server") as server:
        address = server.address
        assert address
        script = f"{fetch(address, 80)} && ip -o -4 addr show eth0 && ip route"
        text = wait_for("an answer", lambda: _try(engine, script))
        assert "hello from server" in text
        assert "default via" in text
        own = next(line for line in text.splitlines() if "inet " in line)
        assert f" {address}/" not in own
        outside = engine.sandbox.run("busybox", "sh", "-c", fetch(address, 80), check=True)
        assert "hello from server" in outside.stdout


def test_a_published_port(engine: Engine) -> None:
    """Reached through the engine's rules or proxy, from the sandbox."""
    port = {"podman": 18080, "docker": 18081}[engine.name]
    with engine.container(SERVE, "--hostname", "server", "-p", f"127.0.0.1:{port}:80"):
        script = fetch("127.0.0.1", port)
        text = wait_for("an answer", lambda: engine.sandbox.run("busybox", "sh", "-c", script).stdout)
        assert "hello from server" in text


def test_names_on_a_network_of_ones_own(engine: Engine) -> None:
    network, name = new_id(), new_id()
    engine.out("network", "create", network)
    try:
        with engine.container(SERVE, "--hostname", "server", "--network", network, "--network-alias", name) as server:
            networks = server.inspect()["NetworkSettings"]["Networks"]
            address = networks[network]["IPAddress"]
            script = f"nslookup {name} | tail -n +3 && {fetch(address, 80)}"
            text = wait_for("an answer", lambda: _try(engine, script, "--network", network))
            assert f"Address: {address}" in text
            assert "hello from server" in text
    finally:
        engine.out("network", "rm", network)


def test_files_of_the_engine(engine: Engine) -> None:
    """/etc/hosts, /etc/hostname and /etc/resolv.conf are the engine's, bound over the image."""
    script = "cat /etc/hostname; echo; grep box /etc/hosts; grep -c ' /etc/resolv.conf ' /proc/self/mountinfo"
    lines = engine.sh(script, "--hostname", "box").splitlines()
    assert lines[0] == "box" and "box" in lines[-2] and lines[-1] == "1"


def _try(engine: Engine, script: str, *options: str) -> str:
    done = engine("run", "--rm", *options, images.NAME, "sh", "-c", script)
    return done.stdout.rstrip("\n") if done.returncode == 0 else ""
