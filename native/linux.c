/* pyrunc._linux: the system calls that CPython has no call for. Thin: one function a call, no decision.
 * What each takes and gives is said in pyrunc/_linux.pyi. A failure is OSError(errno, its text, name of the call). */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <termios.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/mempolicy.h>
#include <linux/nsfs.h>
#include <linux/openat2.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>

#include "kernel.h" /* last: it adds to what the others have */
#include "finish.h"

#define K(name) {#name, (long long)(name)},
static const struct { const char *name; long long value; } constants[] = {
#include "constants.inc" /* made of constants.txt */
};

/* ---- results ---- */

static PyObject *fail(const char *call)
{
	return PyErr_SetFromErrnoWithFilename(PyExc_OSError, call);
}

static PyObject *number(const char *call, long result)
{
	return result < 0 ? fail(call) : PyLong_FromLong(result);
}

static PyObject *nothing(const char *call, long result)
{
	if (result < 0)
		return fail(call);
	Py_RETURN_NONE;
}

/* ---- arguments ---- */

/* O& converters. Python's own for unsigned numbers (I, k, K) mask what does not fit, which would make one flag, process
 * or descriptor of another: these refuse it, with OverflowError, as the signed ones (i, l) do. */
static int u64(PyObject *value, void *target)
{
	PyObject *whole = PyNumber_Index(value);
	unsigned long long got = whole ? PyLong_AsUnsignedLongLong(whole) : (unsigned long long)-1;

	Py_XDECREF(whole);
	if (got == (unsigned long long)-1 && PyErr_Occurred())
		return 0;
	*(unsigned long long *)target = got;
	return 1;
}

static int u32(PyObject *value, void *target)
{
	unsigned long long got;

	if (!u64(value, &got))
		return 0;
	if (got > UINT_MAX) {
		PyErr_SetString(PyExc_OverflowError, "not a number of 32 bits");
		return 0;
	}
	*(unsigned int *)target = (unsigned int)got;
	return 1;
}

static int word(PyObject *value, void *target) /* unsigned long: 32 or 64 bits */
{
	unsigned long long got;

	if (!u64(value, &got))
		return 0;
	if (got > ULONG_MAX) {
		PyErr_SetString(PyExc_OverflowError, "not a machine's word");
		return 0;
	}
	*(unsigned long *)target = (unsigned long)got;
	return 1;
}

/* An O& converter: str or bytes in the file system's encoding, or None for NULL. Without a value it is called to take
 * back what it gave, since an argument after it is wrong. */
static int optional(PyObject *value, void *target)
{
	if (!value) {
		Py_CLEAR(*(PyObject **)target);
		return 1;
	}
	if (value != Py_None)
		return PyUnicode_FSConverter(value, target);
	*(PyObject **)target = NULL;
	return Py_CLEANUP_SUPPORTED;
}

static char *text(PyObject *bytes)
{
	return bytes ? PyBytes_AS_STRING(bytes) : NULL;
}

/* Give up what the converters made, keeping errno for the result. */
static void release_converted(PyObject *const *made, size_t count)
{
	int saved = errno;
	while (count)
		Py_XDECREF(made[--count]);
	errno = saved;
}

#define RELEASE(...) release_converted((PyObject *[]){__VA_ARGS__}, sizeof((PyObject *[]){__VA_ARGS__}) / sizeof(PyObject *))

#define PATH PyUnicode_FSConverter
#define CALL(name) static PyObject *l_##name(PyObject *module, PyObject *args)
#define CALL_KW(name) static PyObject *l_##name(PyObject *module, PyObject *args, PyObject *keywords)
#define PARSE(...) if (!PyArg_ParseTuple(args, __VA_ARGS__)) return NULL
#define PARSE_KW(...) if (!PyArg_ParseTupleAndKeywords(args, keywords, __VA_ARGS__)) return NULL

/* One argument of numbers(): i for the kernel's int, u for its unsigned int, w for a word of either sign. */
static bool take(char kind, PyObject *value, unsigned long *target)
{
	unsigned int narrow;
	long sign = 0;

	if (kind == 'u') {
		if (!u32(value, &narrow))
			return false;
		*target = narrow;
		return true;
	}
	if (kind == 'w') {
		if (word(value, target))
			return true;
		if (!PyErr_ExceptionMatches(PyExc_OverflowError))
			return false;
		PyErr_Clear(); /* below 0, as a keyring's name is */
	}
	sign = PyLong_AsLong(value);
	if (sign == -1 && PyErr_Occurred())
		return false;
	if (kind == 'i' && (sign < INT_MIN || sign > INT_MAX)) {
		PyErr_SetString(PyExc_OverflowError, "not a number of 32 bits");
		return false;
	}
	*target = (unsigned long)sign;
	return true;
}

/* A call that takes numbers only; what is not given, after the first `least`, is 0. kinds: see take(). */
static PyObject *numbers(const char *name, long call, PyObject *args, Py_ssize_t least, const char *kinds, bool answers)
{
	unsigned long a[5] = {0};
	Py_ssize_t given = PyTuple_GET_SIZE(args), most = (Py_ssize_t)strlen(kinds);
	if (given < least || given > most)
		return PyErr_Format(PyExc_TypeError, "%s() takes %zd to %zd numbers, not %zd", name, least, most, given);
	for (Py_ssize_t i = 0; i < given; i++)
		if (!take(kinds[i], PyTuple_GET_ITEM(args, i), &a[i]))
			return NULL;
	long result = syscall(call, a[0], a[1], a[2], a[3], a[4]);
	return answers ? number(name, result) : nothing(name, result);
}

#define NUMBERS(name, least, kinds, answers) \
	CALL(name) { return numbers(#name, SYS_##name, args, least, kinds, answers); }

NUMBERS(close_range, 3, "uuu", false)
NUMBERS(fsmount, 3, "iuu", true)
NUMBERS(ioprio_get, 2, "ii", true)
NUMBERS(ioprio_set, 3, "iii", false)
NUMBERS(keyctl, 2, "iwwww", true)
NUMBERS(madvise, 3, "wwi", false)
NUMBERS(personality, 1, "u", true)
NUMBERS(pidfd_getfd, 2, "ii", true)
NUMBERS(pidfd_open, 1, "iu", true)
NUMBERS(pidfd_send_signal, 2, "ii", false)
NUMBERS(prctl, 1, "iwwww", true)
NUMBERS(setns, 2, "ii", false)
NUMBERS(unshare, 1, "w", false)

/* A call on one name. */
#define ON_NAME(name, call)                          \
	CALL(name)                                   \
	{                                            \
		PyObject *given;                     \
		PARSE("O&:" #name, PATH, &given);    \
		long result = call;                  \
		RELEASE(given);                      \
		return nothing(#name, result);       \
	}

ON_NAME(sethostname, sethostname(text(given), (size_t)PyBytes_GET_SIZE(given)))
ON_NAME(setdomainname, setdomainname(text(given), (size_t)PyBytes_GET_SIZE(given)))

/* ---- mounts and paths ---- */

/* A call that takes a path and flags, before them a directory unless that is not asked for. */
static PyObject *on_path(const char *name, long call, PyObject *args, bool at, bool answers)
{
	int dir = AT_FDCWD;
	unsigned int flags;
	PyObject *path;
	if (at ? !PyArg_ParseTuple(args, "iO&O&", &dir, PATH, &path, u32, &flags)
	       : !PyArg_ParseTuple(args, "O&O&", PATH, &path, u32, &flags))
		return NULL;
	long result = at ? syscall(call, dir, text(path), flags) : syscall(call, text(path), flags);
	RELEASE(path);
	return answers ? number(name, result) : nothing(name, result);
}

CALL(open_tree) { return on_path("open_tree", SYS_open_tree, args, true, true); }
CALL(fspick) { return on_path("fspick", SYS_fspick, args, true, true); }
CALL(fsopen) { return on_path("fsopen", SYS_fsopen, args, false, true); }
CALL(umount2) { return on_path("umount2", SYS_umount2, args, false, false); }

CALL(move_mount)
{
	int from_dir, to_dir;
	unsigned int flags;
	PyObject *from, *to;
	PARSE("iO&iO&O&:move_mount", &from_dir, PATH, &from, &to_dir, PATH, &to, u32, &flags);
	long result = syscall(SYS_move_mount, from_dir, text(from), to_dir, text(to), flags);
	RELEASE(from, to);
	return nothing("move_mount", result);
}

CALL_KW(fsconfig)
{
	static char *names[] = {"fd", "cmd", "key", "value", "aux", NULL};
	int fd, aux = 0;
	unsigned int command;
	PyObject *key, *value, *bytes = NULL;
	PARSE_KW("iO&O&O|i:fsconfig", names, &fd, u32, &command, optional, &key, &value, &aux);
	if (command == FSCONFIG_SET_BINARY && PyBytes_Check(value)) { /* it may hold a NUL; aux is its size */
		if (PyBytes_GET_SIZE(value) > INT_MAX) {
			Py_XDECREF(key);
			return PyErr_Format(PyExc_ValueError, "value too long");
		}
		bytes = Py_NewRef(value);
		aux = (int)PyBytes_GET_SIZE(value);
	} else if (!optional(value, &bytes)) {
		Py_XDECREF(key);
		return NULL;
	}
	long result = syscall(SYS_fsconfig, fd, command, text(key), text(bytes), aux);
	RELEASE(key, bytes);
	return nothing("fsconfig", result);
}

CALL_KW(mount_setattr)
{
	static char *names[] = {"dirfd", "path", "flags", "attr_set", "attr_clr", "propagation", "userns_fd", NULL};
	int dir;
	unsigned int flags;
	unsigned long long set, clear, propagation = 0, userns = 0;
	PyObject *path;
	PARSE_KW("iO&O&O&O&|O&O&:mount_setattr", names, &dir, PATH, &path, u32, &flags, u64, &set, u64, &clear,
		 u64, &propagation, u64, &userns);
	struct mount_attr attributes = {set, clear, propagation, userns};
	long result = syscall(SYS_mount_setattr, dir, text(path), flags, &attributes, sizeof attributes);
	RELEASE(path);
	return nothing("mount_setattr", result);
}

CALL(mount)
{
	PyObject *source, *target, *type, *data;
	unsigned long flags;
	PARSE("O&O&O&O&O&:mount", optional, &source, PATH, &target, optional, &type, word, &flags, optional, &data);
	long result = syscall(SYS_mount, text(source), text(target), text(type), flags, text(data));
	RELEASE(source, target, type, data);
	return nothing("mount", result);
}

CALL(pivot_root)
{
	PyObject *new, *old;
	PARSE("O&O&:pivot_root", PATH, &new, PATH, &old);
	long result = syscall(SYS_pivot_root, text(new), text(old));
	RELEASE(new, old);
	return nothing("pivot_root", result);
}

CALL_KW(openat2)
{
	static char *names[] = {"dirfd", "path", "flags", "mode", "resolve", NULL};
	int dir;
	unsigned long long flags, mode = 0, resolve = 0;
	PyObject *path;
	PARSE_KW("iO&O&|O&O&:openat2", names, &dir, PATH, &path, u64, &flags, u64, &mode, u64, &resolve);
	struct open_how how = {flags, mode, resolve};
	long result = syscall(SYS_openat2, dir, text(path), &how, sizeof how);
	RELEASE(path);
	return number("openat2", result);
}

CALL(mount_id)
{
	int fd;
	/* struct statx, of which libcs and headers know more or less. */
	struct { uint32_t mask, others[35]; uint64_t mnt_id, more[13]; } found;
	const unsigned mnt_id = 0x1000, mnt_id_unique = 0x4000;
	PARSE("i:mount_id", &fd);
	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, mnt_id | mnt_id_unique, &found) < 0)
		return fail("statx");
	PyObject *unique = found.mask & mnt_id_unique ? Py_True : Py_False;
	return Py_BuildValue("KO", (unsigned long long)found.mnt_id, unique);
}

CALL(fstatfs)
{
	int fd;
	struct statfs facts;
	PARSE("i:fstatfs", &fd);
	if (fstatfs(fd, &facts) < 0)
		return fail("fstatfs");
	/* The magic numbers are unsigned 32 bits, but the field is signed and, on some architectures, that narrow. */
	return Py_BuildValue("kk", (unsigned long)(unsigned int)facts.f_type, (unsigned long)facts.f_flags);
}

/* ---- processes and namespaces ---- */

CALL_KW(clone)
{
	static char *names[] = {"flags", "cgroup_fd", NULL};
	unsigned long long flags;
	int cgroup = -1, pidfd = -1;
	pid_t *tid = NULL;
	PARSE_KW("O&|i:clone", names, u64, &flags, &cgroup);
	struct clone_args how = {.flags = flags | CLONE_PIDFD, .pidfd = (uintptr_t)&pidfd};
	if (!(flags & CLONE_PARENT)) /* the kernel wants 0 there: the grandparent's own signal holds */
		how.exit_signal = SIGCHLD;
	if (cgroup >= 0) {
		how.flags |= CLONE_INTO_CGROUP;
		how.cgroup = (unsigned int)cgroup;
	}
	/* As libc's own fork does: the child's thread descriptor gets its new number. */
	if (syscall(SYS_prctl, PR_GET_TID_ADDRESS, &tid, 0, 0, 0) == 0 && tid) {
		how.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
		how.child_tid = (uintptr_t)tid;
	}
	PyOS_BeforeFork();
	long pid = syscall(SYS_clone3, &how, sizeof how);
	if (pid == 0) {
		PyOS_AfterFork_Child();
		return Py_BuildValue("ii", 0, -1);
	}
	int saved = errno;
	PyOS_AfterFork_Parent();
	errno = saved;
	return pid < 0 ? fail("clone3") : Py_BuildValue("li", pid, pidfd);
}

CALL(capget)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	if (syscall(SYS_capget, &header, d) < 0)
		return fail("capget");
#define WIDE(set) (d[0].set | (unsigned long long)d[1].set << 32)
	return Py_BuildValue("KKK", WIDE(effective), WIDE(permitted), WIDE(inheritable));
}

static void split(unsigned long long effective, unsigned long long permitted, unsigned long long inheritable,
		  struct __user_cap_data_struct d[2])
{
	for (int i = 0; i < 2; i++) {
		d[i].effective = (__u32)(effective >> 32 * i);
		d[i].permitted = (__u32)(permitted >> 32 * i);
		d[i].inheritable = (__u32)(inheritable >> 32 * i);
	}
}

CALL(capset)
{
	unsigned long long effective, permitted, inheritable;
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	PARSE("O&O&O&:capset", u64, &effective, u64, &permitted, u64, &inheritable);
	split(effective, permitted, inheritable, data);
	return nothing("capset", syscall(SYS_capset, &header, data));
}

CALL(prlimit)
{
	int pid, resource;
	PyObject *limits;
	unsigned long long soft, hard;
	struct kernel_rlimit new, old;
	PARSE("iiO:prlimit", &pid, &resource, &limits);
	if (limits != Py_None) {
		if (!PyTuple_Check(limits))
			return PyErr_Format(PyExc_TypeError, "limits must be (soft, hard) or None");
		if (!PyArg_ParseTuple(limits, "O&O&:prlimit", u64, &soft, u64, &hard))
			return NULL;
		new = (struct kernel_rlimit){soft, hard};
	}
	if (syscall(SYS_prlimit64, pid, resource, limits == Py_None ? NULL : &new, &old) < 0)
		return fail("prlimit");
	return Py_BuildValue("KK", (unsigned long long)old.soft, (unsigned long long)old.hard);
}

CALL(keyctl_join_session_keyring)
{
	PyObject *name;
	PARSE("O&:keyctl_join_session_keyring", optional, &name);
	long result = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, text(name), 0, 0, 0);
	RELEASE(name);
	return number("keyctl", result);
}

CALL(keyctl_describe)
{
	int serial;
	char description[4200]; /* type;uid;gid;perm; and a description of at most 4095 bytes */

	PARSE("i:keyctl_describe", &serial);
	long size = syscall(SYS_keyctl, KEYCTL_DESCRIBE, serial, description, sizeof description, 0);
	if (size < 0)
		return fail("keyctl");
	if (size < 1 || (size_t)size > sizeof description) /* the kernel tells the size that it would have needed */
		return PyErr_Format(PyExc_ValueError, "key's description too long");
	return PyUnicode_DecodeFSDefaultAndSize(description, size - 1); /* it counts the NUL */
}

CALL_KW(sched_setattr)
{
	static char *names[] = {"pid", "policy", "nice", "priority", "runtime", "deadline", "period", "flags",
				"util_min", "util_max", NULL};
	int pid, nice, priority; /* the config's priority has a sign, and the kernel says what it thinks of it */
	unsigned int policy, least = 0, most = 0;
	unsigned long long runtime, deadline, period, flags;
	PARSE_KW("iO&iiO&O&O&O&|O&O&:sched_setattr", names, &pid, u32, &policy, &nice, &priority, u64, &runtime, u64, &deadline,
		 u64, &period, u64, &flags, u32, &least, u32, &most);
	struct kernel_sched_attr how = {
		.size = sizeof how, .sched_policy = policy, .sched_flags = flags, .sched_nice = nice,
		.sched_priority = (unsigned int)priority, .sched_runtime = runtime, .sched_deadline = deadline,
		.sched_period = period, .sched_util_min = least, .sched_util_max = most,
	};
	return nothing("sched_setattr", syscall(SYS_sched_setattr, pid, &how, 0));
}

CALL(sched_getattr)
{
	int pid;
	struct kernel_sched_attr how = {.size = sizeof how};

	PARSE("i:sched_getattr", &pid);
	if (syscall(SYS_sched_getattr, pid, &how, sizeof how, 0) < 0)
		return fail("sched_getattr");
	return Py_BuildValue("IiIKKKK", how.sched_policy, how.sched_nice, how.sched_priority,
			     (unsigned long long)how.sched_runtime, (unsigned long long)how.sched_deadline,
			     (unsigned long long)how.sched_period, (unsigned long long)how.sched_flags);
}

CALL(ptrace)
{
	int request, pid;
	unsigned long address = 0, data = 0;
	Py_buffer answer = {.buf = NULL};

	PARSE("ii|O&O&w*:ptrace", &request, &pid, word, &address, word, &data, &answer);
	long result = syscall(SYS_ptrace, request, pid, address, answer.obj ? (unsigned long)answer.buf : data);
	int saved = errno;
	if (answer.obj)
		PyBuffer_Release(&answer);
	errno = saved;
	return number("ptrace", result);
}

CALL(set_mempolicy)
{
	int mode;
	const char *nodes;
	Py_ssize_t size;
	unsigned long most, mask[64] = {0}; /* the kernel reads whole words, so the bytes are padded */

	PARSE("iz#O&:set_mempolicy", &mode, &nodes, &size, word, &most);
	if ((nodes && (size_t)size > sizeof mask) || most > sizeof mask * 8)
		return PyErr_Format(PyExc_ValueError, "nodemask too long");
	for (Py_ssize_t i = 0; nodes && i < size; i++)
		mask[(size_t)i / sizeof *mask] |= (unsigned long)(unsigned char)nodes[i] << (size_t)i % sizeof *mask * 8;
	return nothing("set_mempolicy", syscall(SYS_set_mempolicy, mode, nodes ? mask : NULL, most));
}

CALL(bpf_prog_load)
{
	int type;
	Py_buffer code;
	const char *name;

	PARSE("iy*s:bpf_prog_load", &type, &code, &name);
	/* The kernel from 6.17 on writes past an attribute block that is shorter than its own. */
	union {
		union bpf_attr attr;
		char block[256];
	} all = {.block = {0}};
	all.attr.prog_type = (uint32_t)type;
	all.attr.insns = (uintptr_t)code.buf;
	all.attr.insn_cnt = (uint32_t)(code.len / 8);
	all.attr.license = (uintptr_t)"GPL";
	strncpy(all.attr.prog_name, name, sizeof all.attr.prog_name - 1);
	long result = syscall(SYS_bpf, BPF_PROG_LOAD, &all, sizeof all.attr);
	PyBuffer_Release(&code);
	return number("bpf", result);
}

CALL(bpf)
{
	int command;
	Py_buffer given;
	_Alignas(8) char attributes[256] = {0};
	PARSE("iy*:bpf", &command, &given);
	if ((size_t)given.len > sizeof attributes) {
		PyBuffer_Release(&given);
		return PyErr_Format(PyExc_ValueError, "bpf attributes too long");
	}
	memcpy(attributes, given.buf, (size_t)given.len);
	long result = syscall(SYS_bpf, command, attributes, sizeof attributes);
	int saved = errno;
	if (result >= 0 && !given.readonly) /* BPF_PROG_QUERY answers in there */
		memcpy(given.buf, attributes, (size_t)given.len);
	PyBuffer_Release(&given);
	errno = saved;
	return number("bpf", result);
}

/* ---- terminals ---- */

CALL(tty_raw)
{
	int fd;
	struct termios saved, raw;
	PARSE("i:tty_raw", &fd);
	if (tcgetattr(fd, &saved) < 0)
		return fail("tcgetattr");
	raw = saved;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST; /* what is put out has lines without a carriage return */
	if (tcsetattr(fd, TCSANOW, &raw) < 0)
		return fail("tcsetattr");
	return PyBytes_FromStringAndSize((char *)&saved, sizeof saved);
}

CALL(tty_restore)
{
	int fd;
	const char *bytes;
	Py_ssize_t size;
	struct termios saved;
	PARSE("iy#:tty_restore", &fd, &bytes, &size);
	if (size != sizeof saved)
		return PyErr_Format(PyExc_ValueError, "not what tty_raw gave");
	memcpy(&saved, bytes, sizeof saved);
	return nothing("tcsetattr", tcsetattr(fd, TCSANOW, &saved));
}

/* ---- the end ---- */

#define CAPSULE "pyrunc._linux.prepared"

static void discard(PyObject *capsule)
{
	free(PyCapsule_GetPointer(capsule, CAPSULE));
}

/* Add the sizes of a list's bytes objects to *size. */
static int measure(PyObject *list, size_t *size)
{
	for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
		char *string;
		if (PyBytes_AsStringAndSize(PyList_GET_ITEM(list, i), &string, NULL) < 0) /* a NUL within: ValueError */
			return -1;
		*size += (size_t)PyBytes_GET_SIZE(PyList_GET_ITEM(list, i)) + 1;
	}
	return 0;
}

static char *copy(char *place, const void *bytes, size_t size)
{
	memcpy(place, bytes, size);
	return place + size;
}

static char *fill(char *place, char **pointers, PyObject *list)
{
	for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
		*pointers++ = place;
		place = copy(place, text(PyList_GET_ITEM(list, i)), (size_t)PyBytes_GET_SIZE(PyList_GET_ITEM(list, i)) + 1);
	}
	*pointers = NULL;
	return place;
}

CALL_KW(prepare)
{
	static char *names[] = {"path", "argv", "env", "filter", "filter_flags", "filter_first", "caps", "ambient",
				"keep", "fifo", "report", "again", "terminal", "extra", "real_user", "filter_cloned", NULL};
	const char *path, *filter;
	Py_ssize_t path_size, filter_size;
	PyObject *argv, *env, *caps;
	unsigned int flags;
	int first, keep, fifo, report, again, terminal, filter_cloned;
	long long real_user;
	unsigned long long ambient, extra, effective = 0, permitted = 0, inheritable = 0;
	PARSE_KW("y#O!O!$z#O&pOO&ippppO&Lp:prepare", names, &path, &path_size, &PyList_Type, &argv, &PyList_Type, &env, &filter,
		 &filter_size, u32, &flags, &first, &caps, u64, &ambient, &keep, &fifo, &report, &again, &terminal, u64, &extra,
		 &real_user, &filter_cloned);
	if (caps != Py_None && !PyTuple_Check(caps))
		return PyErr_Format(PyExc_TypeError, "caps must be (effective, permitted, inheritable) or None");
	if (caps != Py_None && !PyArg_ParseTuple(caps, "O&O&O&:prepare", u64, &effective, u64, &permitted, u64, &inheritable))
		return NULL;
	size_t filter_bytes = filter ? (size_t)filter_size : 0;
	if (strlen(path) != (size_t)path_size || filter_bytes % sizeof(struct sock_filter) ||
	    (filter && !filter_bytes) || /* would be taken for none */
	    filter_bytes / sizeof(struct sock_filter) > USHRT_MAX || keep < 3 || keep > INT_MAX - 3)
		return PyErr_Format(PyExc_ValueError, "path, filter or keep is not possible");

	/* One block: the struct, the two vectors, the filter (which keeps their alignment), the strings. */
	size_t pointers = (size_t)(PyList_GET_SIZE(argv) + PyList_GET_SIZE(env) + 2) * sizeof(char *);
	size_t strings = (size_t)path_size + 1;
	if (measure(argv, &strings) < 0 || measure(env, &strings) < 0)
		return NULL;
	struct prepared *p = calloc(1, sizeof *p + pointers + filter_bytes + strings);
	if (!p)
		return PyErr_NoMemory();
	p->argv = (char **)(p + 1);
	p->env = p->argv + PyList_GET_SIZE(argv) + 1;
	char *place = (char *)(p + 1) + pointers;
	p->filter.len = (unsigned short)(filter_bytes / sizeof(struct sock_filter));
	p->filter.filter = (struct sock_filter *)place;
	if (filter)
		place = copy(place, filter, filter_bytes);
	p->path = place;
	place = copy(place, path, (size_t)path_size + 1);
	fill(fill(place, p->argv, argv), p->env, env);
	p->filter_flags = flags;
	p->filter_first = first;
	p->set_caps = caps != Py_None;
	split(effective, permitted, inheritable, p->caps);
	split(effective | extra, permitted | extra, inheritable, p->cloned);
	p->ambient = ambient;
	p->keep = keep;
	p->fifo = fifo;
	p->report = report;
	p->again = again;
	p->terminal = terminal;
	p->real_user = real_user;
	p->filter_cloned = filter_cloned;
	p->sync_open = true;
	PyObject *capsule = PyCapsule_New(p, CAPSULE, discard);
	if (!capsule)
		free(p);
	return capsule;
}

/* Each half ends in the other or in Python again; both are said in finish.h. */
static PyObject *end(PyObject *args, bool until_fifo, bool then_execve)
{
	PyObject *capsule;
	PARSE("O:finish", &capsule);
	struct prepared *p = PyCapsule_GetPointer(capsule, CAPSULE);
	if (!p)
		return NULL;
	if (until_fifo)
		finish_until_fifo(p);
	if (then_execve)
		finish_execve(p);
	Py_RETURN_NONE;
}

CALL(finish_until_fifo) { return end(args, true, false); }
CALL(finish_execve) { return end(args, false, true); }
CALL(finish) { return end(args, true, true); }

/* Block these signals and read them from a descriptor: the mask stays until reset_signals(). */
CALL(signalfd)
{
	sigset_t mask;
	sigemptyset(&mask);
	for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); i++) {
		unsigned long signal;
		if (!take('i', PyTuple_GET_ITEM(args, i), &signal))
			return NULL;
		if (sigaddset(&mask, (int)signal) < 0)
			return fail("sigaddset");
	}
	if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
		return fail("sigprocmask");
	return number("signalfd", signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
}

CALL(reset_signals)
{
	int ignore_pipe = 0;
	PARSE("|p:reset_signals", &ignore_pipe);
	int result = reset_signals();
	if (ignore_pipe)
		signal(SIGPIPE, SIG_IGN);
	return nothing("rt_sigaction", result);
}

CALL(sealed)
{
	const int all = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail("open");
	int seals = fcntl(fd, F_GET_SEALS);
	close(fd);
	return PyBool_FromLong(seals >= 0 && (seals & all) == all); /* EINVAL: not a memfd */
}

/* ---- the module ---- */

#define F(name) {#name, l_##name, METH_VARARGS, NULL},
#define F_KW(name) {#name, (PyCFunction)(void (*)(void))l_##name, METH_VARARGS | METH_KEYWORDS, NULL},

static PyMethodDef functions[] = {
	F(open_tree) F(move_mount) F(fsopen) F(fspick) F_KW(fsconfig) F(fsmount) F_KW(mount_setattr) F(mount) F(umount2)
	F(pivot_root) F_KW(openat2) F(mount_id) F(fstatfs) F_KW(clone) F(setns) F(unshare) F(pidfd_open) F(pidfd_getfd)
	F(pidfd_send_signal) F(prctl) F(capget) F(capset) F(sethostname) F(setdomainname) F(prlimit)
	F(keyctl_join_session_keyring) F(keyctl) F(keyctl_describe) F(close_range) F(madvise) F(personality)
	F_KW(sched_setattr) F(sched_getattr) F(ptrace) F(ioprio_get) F(ioprio_set) F(set_mempolicy) F(bpf) F(bpf_prog_load) F(tty_raw) F(tty_restore)
	F_KW(prepare) F(finish_until_fifo) F(finish_execve) F(finish) F(sealed)
	F(signalfd) F(reset_signals)
	{NULL, NULL, 0, NULL}
};

static int add(PyObject *dict, const char *name, PyObject *value) /* steals value */
{
	int result = value ? PyDict_SetItemString(dict, name, value) : -1;
	Py_XDECREF(value);
	return result;
}

static int populate(PyObject *module)
{
	PyObject *dict = PyModule_GetDict(module);
	PyObject *caps = PyDict_New(), *rlimits = PyDict_New();
	if (!caps || !rlimits || add(dict, "CAPS", caps) < 0 || add(dict, "RLIMITS", rlimits) < 0)
		return -1;
	for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
		const char *name = constants[i].name;
		PyObject *place = !strncmp(name, "CAP_", 4) ? caps : !strncmp(name, "RLIMIT_", 7) ? rlimits : dict;
		if (add(place, name, PyLong_FromLongLong(constants[i].value)) < 0)
			return -1;
	}
	if (add(dict, "RLIM_INFINITY", PyLong_FromUnsignedLongLong(KERNEL_RLIM_INFINITY)) < 0)
		return -1;
	static const char *stages[] = {STAGE_NAMES};
	PyObject *names = PyTuple_New(sizeof stages / sizeof *stages);
	for (size_t i = 0; names && i < sizeof stages / sizeof *stages; i++)
		PyTuple_SET_ITEM(names, (Py_ssize_t)i, PyUnicode_FromString(stages[i]));
	return add(dict, "STAGES", names);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, populate}, {0, NULL}};

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT, .m_name = "pyrunc._linux", .m_methods = functions, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__linux(void)
{
	return PyModuleDef_Init(&definition);
}
