/* The image's two lives. The maker is stage two up to where all modules are imported; then it writes itself to a file and
 * ends. What is mapped from that file starts with libc's own start, comes to main() with image_is_restored set, makes anew
 * what the child of a fork does (threads' locks and names, the GIL), takes environment and arguments, and runs the command.
 *
 * The list of built-in modules is here: only what is used is linked in. */
#define _GNU_SOURCE
#include "stage2.h"

#include "dump.h"
#include "heap.h"
#include "launch.h"
#include "report.h"

#include <stdlib.h>

int image_is_restored;
static PyObject *run, *environment; /* boot.py's run(), and posix.environ */
static PyThreadState *thread;       /* detached, since libpython knows of the current one in thread-local storage */
static char *stood;                 /* the caller's directory: the command line's relative paths are of there */

/* ---- what is linked in ---- */

#ifdef LINKED_MODULES
PyMODINIT_FUNC PyInit__abc(void);
PyMODINIT_FUNC PyInit__blake2(void);
PyMODINIT_FUNC PyInit__codecs(void);
PyMODINIT_FUNC PyInit__imp(void);
PyMODINIT_FUNC PyInit__io(void);
PyMODINIT_FUNC PyInit__socket(void);
PyMODINIT_FUNC PyInit__struct(void);
PyMODINIT_FUNC PyInit__thread(void);
PyMODINIT_FUNC PyInit__weakref(void);
PyMODINIT_FUNC PyInit_errno(void);
PyMODINIT_FUNC PyInit_fcntl(void);
PyMODINIT_FUNC PyInit_gc(void);
PyMODINIT_FUNC PyInit_itertools(void);
PyMODINIT_FUNC PyInit_math(void);
PyMODINIT_FUNC PyInit_posix(void);
PyMODINIT_FUNC PyInit_select(void);
PyMODINIT_FUNC PyInit_time(void);
PyMODINIT_FUNC PyMarshal_Init(void);
PyMODINIT_FUNC _PyWarnings_Init(void);

/* In the place of libpython's own list, which names all that it has. */
struct _inittab _PyImport_Inittab[] = {
	{"builtins", NULL}, {"sys", NULL}, {"marshal", PyMarshal_Init}, {"_warnings", _PyWarnings_Init},
	{"_abc", PyInit__abc}, {"_blake2", PyInit__blake2}, {"_codecs", PyInit__codecs}, {"_imp", PyInit__imp},
	{"_io", PyInit__io}, {"_socket", PyInit__socket}, {"_struct", PyInit__struct}, {"_thread", PyInit__thread},
	{"_weakref", PyInit__weakref}, {"errno", PyInit_errno}, {"fcntl", PyInit_fcntl}, {"gc", PyInit_gc},
	{"itertools", PyInit_itertools}, {"math", PyInit_math}, {"posix", PyInit_posix}, {"select", PyInit_select},
	{"time", PyInit_time}, {"pyrunc._linux", PyInit__linux}, {"pyrunc._json", PyInit__json},
	{"_launcher", PyInit__launcher}, {NULL, NULL},
};
#endif

/* ---- the maker ---- */

static void *arena(void *context, size_t size)
{
	return malloc(size);
}

static void arena_end(void *context, void *block, size_t size)
{
	free(block);
}

void image_allocators(void)
{
	PyObject_SetArenaAllocator(&(PyObjectArenaAllocator){NULL, arena, arena_end}); /* the stack of frames */
}

int image_make(int argc, char **argv)
{
	const struct file_facts libraries[2] = {{LIBPYTHON_FACTS}, {LIBC_FACTS}};
	PyObject *posix = PyImport_AddModule("posix"), *boot = PyImport_AddModule("_pyrunc_boot");

	run = PyObject_GetAttrString(boot, "run");
	environment = PyObject_GetAttrString(posix, "environ");
	if (argc < 3 || argc > 4 || !run || !environment)
		return report(argv, MAKER_CALL, EINVAL, NULL);
	PyOS_BeforeFork();
	thread = PyEval_SaveThread();
	image_is_restored = 1;
	printf("%lx\n", (unsigned long)heap_apart()); /* where tools/arrange.py finds the blocks; written at the end, by exit() */
	return dump(argv[1], heap_seal(), libraries, STAGE2) < 0 ? report(argv, IMAGE_FILE, errno, NULL) : 0;
}

/* ---- what goes on from the image ---- */

/* As posix makes it when it is imported: the first of two of a name counts. */
static int renew_environment(void)
{
	PyDict_Clear(environment);
	for (char **variable = environ; *variable; variable++) {
		const char *equals = strchr(*variable, '=');
		if (!equals)
			continue;
		PyObject *name = PyBytes_FromStringAndSize(*variable, equals - *variable), *value = PyBytes_FromString(equals + 1);
		if (!name || !value || !PyDict_SetDefault(environment, name, value))
			return -1;
		Py_DECREF(name);
		Py_DECREF(value);
	}
	return 0;
}

int image_run(void)
{
	PyEval_RestoreThread(thread);
	PyOS_AfterFork_Child();
	stood = getcwd(NULL, 0); /* create and run enter their bundle before it is known that stage two is needed */
	PyObject *list = renew_environment() < 0 ? NULL : argument_list();
	if (list)
		PyObject_CallOneArg(run, list); /* which ends the process */
	return report(arguments, IMAGE_START, ENOMEM, NULL);
}

PyObject *ordinary(PyObject *module, PyObject *args)
{
	if (!image_is_restored)
		return PyErr_Format(PyExc_ImportError, "not in the image");
	if (stood && chdir(stood) < 0)
		return PyErr_SetFromErrnoWithFilename(PyExc_OSError, stood);
	struct failure why = launch(arguments, environ, NULL);
	const struct remedy *row = remedy_of(why.where, why.error);
	return Py_BuildValue("(sis)", row->what, why.error, row->hint);
}
