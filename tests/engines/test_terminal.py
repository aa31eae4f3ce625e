"""Terminals under podman and docker: -it from a pseudo-terminal, and by hand in tmux."""

import shutil

import pytest

from . import images
from .engines import Engine
from .terminal import Terminal, Tmux


def terminal(engine: Engine, *args: str) -> Terminal:
    """One command of the engine, with a terminal."""
    place = engine.sandbox
    return Terminal(place.argv(engine.argv(*args)), {**place.env, **engine.env})


def test_run_with_a_terminal(engine: Engine) -> None:
    """A tty on all three, of the window's size, which follows the window; the status is kept."""
    with terminal(engine, "run", "-it", "--rm", images.NAME, "sh") as tty:
        tty.press("tty; test -t 0 && test -t 1 && test -t 2 && echo all-$((1 + 1))\n")
        before = tty.expect("all-2")
        assert "/dev/pts/0" in before or "/dev/console" in before
        tty.press("until test \"$(stty size)\" = '33 99'; do sleep 0.1; done; echo sized-$((1 + 1))\n")
        tty.expect("sized-2")
        tty.resize(40, 111)
        tty.press("until test \"$(stty size)\" = '40 111'; do sleep 0.1; done; echo again-$((1 + 1))\n")
        tty.expect("again-2")
        tty.press("ls -l /dev/console | cut -c1; exit 3\n")
        tty.expect("c\r\n")
        assert tty.end() == 3


def test_keys_that_signal(engine: Engine) -> None:
    """The shell has job control of its own terminal: ^C ends what runs in front, ^D the shell."""
    with terminal(engine, "run", "-it", "--rm", images.NAME, "sh") as tty:
        tty.press("sh -c 'echo on-$((1 + 1)); exec sleep 1000'\n")
        tty.expect("on-2")
        tty.press("\x03")
        tty.expect("# ")  # Only at the prompt is the shell ready for more keys.
        tty.press("echo off-$((2 + 2))-$?\n")
        tty.expect("off-4-130")
        tty.expect("# ")
        tty.press("\x04")
        assert tty.end() in (0, 130)


def test_exec_with_a_terminal(engine: Engine) -> None:
    with engine.container("exec sleep 1000") as box, terminal(engine, "exec", "-it", box.name, "sh") as tty:
        tty.press("tty; until test \"$(stty size)\" = '33 99'; do sleep 0.1; done; echo sized-$((1 + 1))\n")
        assert "/dev/pts/" in tty.expect("sized-2")
        tty.press("exit 4\n")
        assert tty.end() == 4


def test_a_terminal_without_stdin(engine: Engine) -> None:
    """-t alone: a tty and its line ends; the output is the container's."""
    done = engine("run", "-t", "--rm", images.NAME, "sh", "-c", "test -t 1 && echo tty")
    assert done.stdout.splitlines() == ["tty"] and done.stdout.endswith("\r\n")


def test_by_hand_in_tmux(engine: Engine) -> None:
    """As a person does it: `run -it busybox`, and ps shows sh as PID 1."""
    if shutil.which("tmux") is None:
        pytest.skip("not installed: tmux")
    place = engine.sandbox
    argv = place.argv(engine.argv("run", "-it", "--rm", images.NAME, "sh"))
    with Tmux(place.work / f"tmux-{engine.name}", argv, {**place.env, **engine.env}) as tmux:
        tmux.expect("#")
        tmux.enter("ps -o pid,args; echo end-$((1 + 1))")
        lines = [line.split() for line in tmux.expect("end-2").splitlines()]
        assert ["1", "sh"] in lines
        tmux.enter("exit 5")
        assert tmux.end() == 5
