"""What tests do with a container: run it, give it scripts and descriptors."""

from pathlib import Path

from .workplace import Bundle


def running(box: Bundle) -> int:
    """Run it detached; its process."""
    box.run("--detach").ok()
    return box.pid()


def in_foreground(box: Bundle, command: str, *args: str, tty: bool = False) -> list[str | Path]:
    """The call that has args executed by exec in the container that runs, or by run in a new one."""
    if command == "exec":
        return ["exec", *(["--tty"] if tty else []), box.id, *args]
    box.config["process"]["terminal"] = tty
    box.config["process"]["args"] = list(args)
    return ["run", "--bundle", box.save(), box.id]


def script(box: Bundle, text: str, name: str = "script") -> str:
    """A shell script in the rootfs; its path in there."""
    file = box.rootfs / "bin" / name
    file.write_text("#!/bin/sh\n" + text)
    file.chmod(0o755)
    return f"/bin/{name}"


def with_descriptors(box: Bundle, redirections: str) -> None:
    """From now on the runtime is called with these descriptors, in the shell's words ("3>FILE 4<FILE")."""
    wrapper = box.path / "runtime-with-descriptors"
    wrapper.write_text(f'#!/bin/sh\nexec {redirections}\nexec {box.place.runtime} "$@"\n')
    wrapper.chmod(0o755)
    box.place.runtime = wrapper
