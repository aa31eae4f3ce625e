"""buildah's RUN, which drives the runtime by itself: create, start, state until it has ended, delete."""

from .engines import Buildah


def test_run(buildah: Buildah) -> None:
    done = buildah.build("RUN id -u && ls /data && grep Seccomp: /proc/self/status\nRUN echo x >/made && cat /made\n")
    assert done.returncode == 0, done
    assert "not-a-program" in done.stdout
    assert "Seccomp:\t2" in done.stdout
    assert buildah.sandbox.mounts() == [m for m in buildah.sandbox.mounts() if str(buildah.home) not in m]


def test_a_run_that_fails(buildah: Buildah) -> None:
    done = buildah.build("RUN echo said && exit 3\n")
    assert done.returncode == 3, done
    assert "said" in done.stdout


def test_a_user(buildah: Buildah) -> None:
    done = buildah.build("USER alice\nRUN id -u; grep CapEff /proc/self/status\n")
    assert done.returncode == 0, done
    assert "\n1000\n" in done.stdout


def test_a_missing_shell(buildah: Buildah) -> None:
    done = buildah.build('RUN ["no-such-command"]\n')
    assert done.returncode != 0
    assert "no-such-command" in done.stdout + done.stderr
