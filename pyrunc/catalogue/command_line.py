"""The catalogue: the command line, and files that its flags name."""

from __future__ import annotations

from errno import EACCES, EISDIR, ELOOP, EMFILE, ENOENT, ENOMEM, ENOSPC, ENOTDIR, EROFS
from typing import TYPE_CHECKING, Final

from pyrunc.catalogue.entry import CALL, FILE, GIVEN, HOST, INSIDE, Case, meant, one_of, path, walked

if TYPE_CHECKING:
    from pyrunc.catalogue.entry import Entry


def _command(case: Case) -> str:
    question = meant(case.holes[0], case.flags)
    return (question + " " if question else "") + "`" + case.program + " help` lists the commands"


def _flag(case: Case) -> str:
    word = case.holes[0]
    own = case.flags.get(case.command, [])
    question = meant(word, own).replace("mean ", "mean --")
    help_ = "`" + case.program + (" " + case.command if case.command else "") + " --help` lists the flags"
    if question:
        return f"{question} {help_}"
    if case.command and word in case.flags.get("", []):
        return f"--{word} is a global flag: {case.program} --{word} ... {case.command} ..."
    owners = [name for name, known in case.flags.items() if word in known]
    return (f"that is a flag of {', '.join(owners)}; " if owners else "") + help_


SIGNALS: Final = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS RTMIN RTMAX"
)


def _signal(case: Case) -> str:
    word = case.holes[0].upper().removeprefix("SIG")
    question = "" if word.isdigit() else meant(word, SIGNALS.split())
    return (
        question + " " if question else ""
    ) + "a signal is a number from 0 to 64, or a name of signal(7) such as TERM"


def _bundle(case: Case) -> str:
    where = case.holes[0]
    if where[:1] == "/":
        found = walked(where)
        if found:
            return found
    return f"a bundle must be a directory with a config.json: `{case.program} spec --bundle DIRECTORY` writes one"


def _config(case: Case) -> str:
    found = walked(case.holes[0])
    if case.command == "exec":
        write = "--process names a file with an object as `process` of a bundle's config"
    else:
        write = f"`{case.program} spec` writes a config.json, --bundle names the directory that has one"
    return f"{found}; {write}" if found else write


def _form(case: Case) -> str:
    return one_of("table", "json", *(("perfetto",) if case.command == "trace" else ()))(case)


_SIZE: Final = "a number of bytes, with k, m, g, t or p behind it, or -1 for no limit"
_NUMBER: Final = "a whole number: decimal, or with 0x, 0o or 0b before it"
_OPEN: Final = {
    EACCES: "the caller must be able to read it, and search the directories on the way",
    EISDIR: "a file is expected, no directory",
    ELOOP: "there are links on the way that lead to each other",
    EMFILE: "the caller's RLIMIT_NOFILE is too low (ulimit -n)",
    0: "it must be a file that the caller can read",
}
_WRITE: Final = {
    EACCES: "the caller must be able to write there",
    EROFS: "that file system is mounted read-only: name another place",
    ENOSPC: "that file system is full: make room",
    ENOTDIR: "something on the way is no directory",
    0: "it must be in a directory that is there and that the caller can write to",
}


def _writable(case: Case) -> str:
    error = case.error.errno or 0
    where = case.holes[0].rpartition("/")[0]
    return (walked(where) if error in (ENOENT, ENOTDIR, EACCES) else "") or _WRITE.get(error) or _WRITE[0]


def _readable(case: Case) -> str:
    return walked(case.holes[0]) or _OPEN.get(case.error.errno or 0) or _OPEN[0]


ENTRIES: Final[dict[str, Entry]] = {
    # ---- words ----
    "No help topic for '{}'": ("{0}", CALL, _command),
    "bad flag syntax: {}": ("{0}", CALL, "a flag is --NAME, --NAME=VALUE or --NAME VALUE; -- ends the flags"),
    "flag provided but not defined: -{}": ("{0}", CALL, _flag),
    "flag needs an argument: -{}": ("{0}", CALL, "--{0} VALUE, or --{0}=VALUE"),
    "Cannot use two forms of the same flag: {} {}": ("{0}", CALL, "leave -{0} or --{1} out"),
    '{}: "{}" requires a maximum of {} argument(s)': ("{1}", CALL, "`{program} {1} --help` shows how it is called"),
    '{}: "{}" requires a minimum of {} argument(s)': ("{1}", CALL, "`{program} {1} --help` shows how it is called"),
    '{}: "{}" requires exactly {} argument(s)': ("{1}", CALL, "`{program} {1} --help` shows how it is called"),
    "unknown command {}": ("{0}", CALL, "mounts add ID FILE, or mounts remove ID FILE"),
    "no completion for the shell {}": ("{0}", CALL, one_of("bash", "fish", "zsh")),
    "cannot trace {}": ("{0}", CALL, GIVEN),
    "trace {} requires {} argument(s)": ("{0}", CALL, "`{program} {0} --help` shows how it is called"),
    "two bundles: {} and {}": ("{0}", CALL, "name the bundle once: as the argument, or by --bundle"),
    # ---- values of flags ----
    'invalid boolean value "{}" for -{}: parse error': ("{1}", CALL, "--{1}, --{1}=true or --{1}=false"),
    'invalid value "{}" for flag -{}: parse error': (
        "{1}",
        CALL,
        "a whole number; a time is one with a unit, such as 500ms, 5s or 1m30s",
    ),
    'invalid value "{}" for flag -{}: strconv.ParseInt: parsing "{}": invalid syntax': ("{1}", CALL, _NUMBER),
    'invalid value "{}" for flag -{}: value out of range': ("{1}", CALL, "a number of 64 bits, with its sign"),
    'invalid value "{}" for flag -preserve-fds: it is negative': (
        "preserve-fds",
        CALL,
        "how many descriptors from 3 on the process keeps: 0 or more",
    ),
    'invalid value "{}" for flag -env: want NAME=value': ("env", CALL, "--env NAME=value, once for each variable"),
    "exec args cannot be empty": (
        "exec args",
        CALL,
        "`{program} exec ID PROGRAM [ARGUMENT...]`, or --process FILE with a process object",
    ),
    'bad uid: "{}" is no number from 0 to {}': (
        "uid",
        CALL,
        "--user UID[:GID], numbers both: names of the image's /etc/passwd are not looked up",
    ),
    'bad gid: "{}" is no number from 0 to {}': (
        "gid",
        CALL,
        "--user UID[:GID], numbers both: names of the image's /etc/group are not looked up",
    ),
    "additional-gids must be a positive number below 2^32 - 1, not {}": (
        "additional-gids",
        CALL,
        "--additional-gids GID, once for each group",
    ),
    "invalid --cgroup argument: {} (missing <controller>: prefix)": (
        "--cgroup",
        CALL,
        "--cgroup CONTROLLER:PATH for one hierarchy of cgroup v1, --cgroup PATH alone on cgroup v2",
    ),
    "invalid --cgroup argument: {} (empty <controller> prefix)": ("--cgroup", CALL, "--cgroup memory:PATH, for one"),
    "invalid --cgroup argument(s): controller {} specified multiple times": (
        "--cgroup",
        CALL,
        "name controller {0} once",
    ),
    "unknown controller {} in --cgroup": ("--cgroup", CALL, "a hierarchy of /proc/self/cgroup, such as memory"),
    "bad sub cgroup path: {}": ("{0}", CALL, "--cgroup takes a path below the container's own cgroup, without .."),
    "--cgroup {}: cgroup v2 has one hierarchy for all controllers": ("--cgroup", CALL, "--cgroup PATH"),
    'unknown signal "{}"': ("{0}", CALL, _signal),
    "invalid regular expression {}: {}": (
        "{0}",
        CALL,
        "it is Python's syntax: a dot or a bracket is meant as one by \\",
    ),
    "invalid log-format: {}": ("{0}", CALL, one_of("text", "json")),
    "invalid format option: {}": ("{0}", CALL, _form),
    "invalid cgroup manager: {}": ("{0}", CALL, one_of("cgroupfs", "systemd", "disabled")),
    "Option --root argument should not be set to /": (
        "--root",
        CALL,
        "a directory for states alone, such as /run/pyrunc",
    ),
    "duration interval must be greater than 0": ("interval", CALL, "--interval 5s, for one"),
    'invalid value for {}: "{}"': ("{0}", CALL, "a whole number"),
    "invalid value for {}: invalid size: '{}'": ("{0}", CALL, _SIZE),
    "invalid value for blkio-weight: {}": ("blkio-weight", CALL, "--blkio-weight, from 10 to 1000"),
    "cannot use console socket if pyrunc will not detach or allocate tty": (
        "console socket",
        CALL,
        "leave --console-socket out, or detach a process with a terminal (process.terminal; exec: --tty)",
    ),
    # ---- files that flags name ----
    "bundle {}: {}": ("{0}", CALL, _bundle),
    "bundle in the current directory: {}": ("current directory", CALL, "--bundle DIRECTORY names one that is there"),
    "JSON specification file {} not found": ("{0}", FILE, _config),
    "File {} exists. Remove it first": ("{0}", CALL, "spec never overwrites one: --bundle DIRECTORY for another place"),
    "write {}: {}": ("{0}", CALL, _writable),
    "write pid file {}: {}": ("{0}", CALL, _writable),
    "open log {}: {}": ("{0}", CALL, _writable),
    "connect to socket {}: {}": (
        "{0}",
        CALL,
        path(0, "who wants to get the descriptor must listen on that socket (AF_UNIX, stream) before the call"),
    ),
    "send to console socket: {}": (
        "console socket",
        CALL,
        "who listens there must not close before it has the terminal",
    ),
    "send to pidfd socket: {}": ("pidfd socket", CALL, "who listens there must not close before it has the pidfd"),
    "file descriptor {} does not exist, so it cannot be preserved": (
        "{0}",
        CALL,
        "--preserve-fds N hands on N descriptors from 3, after those of LISTEN_FDS: the caller must have them open",
    ),
    "resources from {} are longer than 4 MiB": ("{0}", CALL, "--resources takes one resources object in JSON"),
    "open standard input: {}": ("standard input", CALL, "--resources - reads a resources object from it"),
    "nothing has come from {} for {} seconds": ("{0}", CALL, "who writes to that pipe must have begun, and close it"),
    "open {}: {}": ("{0}", FILE, _readable),
    "read {}: {}": ("{0}", FILE, _readable),
    "resolve {}: {}": ("{0}", FILE, _readable),
    "state directory {}: {}": ("{0}", HOST, _writable),
    "state directory {} belongs to another user": (
        "{0}",
        HOST,
        "$XDG_RUNTIME_DIR must be the user's own; --root names another place",
    ),
    # ---- ps, output ----
    "couldn't find PID field in ps output": ("PID field", CALL, "the options of ps must keep its PID column"),
    "ps exited with status {}: {}": ("ps", CALL, "what stands after the ID are options of ps(1)"),
    "run ps: {}": ("ps", HOST, "the host's ps(1) is called: install procps; --format json does without"),
    "write to standard output: {}": ("standard output", CALL, "whatever it is redirected to must take what is written"),
    # ---- pyrunc itself ----
    "the limits of this process: {}": (
        "{0}",
        HOST,
        {
            ENOMEM: "free some memory, or raise RLIMIT_AS (ulimit -v), RLIMIT_DATA (ulimit -d) or the cgroup's limit",
            EMFILE: "RLIMIT_NOFILE is too low: `ulimit -n 1024` before the call",
            0: "the host has too many files open: raise the sysctl fs.file-max",
        },
    ),
    "the installation is not whole: {}": (
        "{0}",
        INSIDE,
        "install Python's standard library (libpython3-stdlib) and pyrunc again",
    ),
    "internal error: {}: {} at {}": (
        "{2}",
        INSIDE,
        "this is a defect of pyrunc: report it with this line and the config; --debug tells what was done before",
    ),
    "{} {} ended with status {}": ("{1}", INSIDE, "the launcher's standard error has what it said"),
    "no launcher is installed": (
        "launcher",
        INSIDE,
        "make install, or the Debian package of make deb; pip brings the library alone",
    ),
    "{} is not valid; problems: {}": ("{0}", FILE, "each line before says what is wrong, and where"),
    "mounts must be an array": (
        "mounts",
        FILE,
        "a JSON array of mount objects, as mounts of config.json",
    ),
}
