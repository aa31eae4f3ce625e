"""For setuptools: what of the library is made, as the Makefile makes it. The metadata stand in setup.cfg."""

import re
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

FLAGS = ["-std=gnu11", "-O2", "-fvisibility=hidden", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2"]


class Modules(build_py):
    """Writes the check of configs and the bundled schemas, from spec/."""

    def run(self) -> None:
        super().run()
        output = Path(self.build_lib, "pyrunc/config/_check.py")
        output.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "tools/gencheck.py", "spec", str(output)], check=True)


class Extensions(build_ext):
    """Writes what linux.c and finish.c include: the table of constants, the messages by name."""

    def run(self) -> None:
        folder = Path(self.build_temp)
        folder.mkdir(parents=True, exist_ok=True)
        lines = [line for line in Path("native/constants.txt").read_text().splitlines() if not line.startswith("#")]
        (folder / "constants.inc").write_text(re.sub(r"\w+", r"K(\g<0>)", "\n".join(lines)))
        named = re.findall(r'^([A-Z_]+): Final = b"(.)"$', Path("pyrunc/steps/messages.py").read_text(), re.M)
        (folder / "messages.h").write_text("".join(f"#define MESSAGE_{name} '{byte}'\n" for name, byte in named))
        for extension in self.extensions:
            extension.include_dirs.append(str(folder))
        super().run()


setup(
    ext_modules=[
        Extension("pyrunc._linux", ["native/linux.c", "native/finish.c"], extra_compile_args=FLAGS),
        Extension("pyrunc._json", ["native/json.c"], extra_compile_args=FLAGS),
    ],
    cmdclass={"build_py": Modules, "build_ext": Extensions},
)
