/* Stage two: Python in one program, with the hot modules frozen in. It starts in two steps: the core, which can import
 * what is built in or frozen and costs half; the rest (files, codecs, sys.stdout) when it is first needed. From Python 3.14 on
 * the core cannot be had alone.
 *
 * Compiled a second time, with IMAGE=1, it is the maker of an image and what goes on from it: image.c has the difference. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "report.h"
#include "stage2.h"
#if IMAGE
#include "heap.h"
#endif

#include <signal.h>
#include <sys/prctl.h>

extern const struct _frozen frozen_modules[]; /* written by tools/freeze.py */

char **arguments;

#if !IMAGE
static PyObject *complete(PyObject *module, PyObject *args)
{
#ifdef TWO_STEPS
	PyStatus status = _Py_InitializeMain();
	if (PyStatus_Exception(status)) {
		PyErr_Clear();
		PyObject *text = PyUnicode_FromFormat("Python cannot be set up: %s", status.err_msg ? status.err_msg : "it exits");
		if (!text)
			return PyErr_NoMemory();
		PyErr_SetObject(PyExc_ImportError, text);
		Py_DECREF(text);
		return NULL;
	}
#endif
	Py_RETURN_NONE;
}
#endif

/* fail(text): what no error of the command's is. Returns the exit status. */
static PyObject *fail(PyObject *module, PyObject *text)
{
	const char *detail = PyUnicode_AsUTF8(text);
	return detail ? PyLong_FromLong(report(arguments, COMMAND, 0, detail)) : NULL;
}

PyObject *argument_list(void)
{
	PyObject *list = PyList_New(0);
	for (char **word = arguments; list && *word; word++) {
		PyObject *text = PyUnicode_DecodeFSDefault(*word);
		if (!text || PyList_Append(list, text) < 0)
			Py_CLEAR(list);
		Py_XDECREF(text);
	}
	return list;
}

static int populate(PyObject *module)
{
	return PyModule_AddObject(module, "argv", argument_list()) < 0 ||
	       PyModule_AddIntConstant(module, "DEBUG", DEBUG) < 0 || PyModule_AddIntConstant(module, "IMAGE", IMAGE) < 0 ||
	       PyModule_AddStringConstant(module, "PACKAGE", PACKAGE) < 0 ||
#if IMAGE
	       PyModule_AddStringConstant(module, "STAGE2", STAGE2) < 0 ||
#endif
	       PyModule_AddStringConstant(module, "JOB", "pyrunc: compile a filter") < 0 || /* as the only argument: seccomp/job.py */
	       PyModule_AddStringConstant(module, "STDLIB", STDLIB) < 0 ||
	       PyModule_AddStringConstant(module, "DYNLOAD", DYNLOAD) < 0 ||
	       PyModule_AddStringConstant(module, "SITE", SITE) < 0 ? -1 : 0;
}

static PyMethodDef functions[] = {
#if IMAGE
	{"ordinary", ordinary, METH_NOARGS, NULL},
#else
	{"complete", complete, METH_NOARGS, NULL},
#endif
	{"fail", fail, METH_O, NULL},
	{NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot slots[] = {{Py_mod_exec, populate}, {0, NULL}};
static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT, .m_name = "_launcher", .m_methods = functions, .m_slots = slots,
};

PyObject *PyInit__launcher(void)
{
	return PyModuleDef_Init(&definition);
}

#define WIDE_(text) L##text
#define WIDE(text) WIDE_(text)

/* Nothing is taken from the environment, from files or from where the program lies. */
static PyStatus start(int argc, char **argv)
{
	PyPreConfig early;
	PyConfig config;
	PyPreConfig_InitIsolatedConfig(&early);
	early.utf8_mode = 1; /* whatever the locale is: what is not UTF-8 goes through as surrogates */
#if IMAGE
	early.allocator = PYMEM_ALLOCATOR_MALLOC; /* which is heap.c's */
#endif
	PyStatus status = Py_PreInitialize(&early);
	if (PyStatus_Exception(status))
		return status;
#if IMAGE
	image_allocators();
#endif
	PyConfig_InitIsolatedConfig(&config);
#ifdef TWO_STEPS
	config._init_main = 0;
#endif
	config.install_signal_handlers = 0;
	config.site_import = 0;
	config.write_bytecode = 0;
	config.pathconfig_warnings = 0;
	status = PyConfig_SetString(&config, &config.program_name, L"pyrunc");
	if (!PyStatus_Exception(status))
		status = PyConfig_SetString(&config, &config.executable, WIDE(PYTHON));
	const wchar_t *path[] = {WIDE(STDLIB), WIDE(DYNLOAD), WIDE(SITE)};
	for (size_t i = 0; i < sizeof path / sizeof *path && !PyStatus_Exception(status); i++)
		status = PyWideStringList_Append(&config.module_search_paths, path[i]);
	config.module_search_paths_set = 1;
	if (!PyStatus_Exception(status))
		status = PyConfig_SetBytesArgv(&config, argc, argv);
	if (!PyStatus_Exception(status))
		status = Py_InitializeFromConfig(&config);
	return status;
}

int main(int argc, char **argv)
{
	arguments = argv;
	prctl(PR_SET_NAME, "pyrunc", 0, 0, 0); /* the kernel would call it after a descriptor's number */
	signal(SIGPIPE, SIG_IGN); /* a hook that does not read its input must not end us half-way; children have it reset */
	signal(SIGCHLD, SIG_DFL); /* where the caller ignores it, our children would go without a status to wait for */
#if IMAGE
	if (image_is_restored)
		return image_run();
	if (argc > 3 && heap_arrange(argv[3]) < 0)
		return report(argv, MAKER_CALL, errno, NULL);
#else
	if (PyImport_AppendInittab("pyrunc._linux", PyInit__linux) < 0 || PyImport_AppendInittab("pyrunc._json", PyInit__json) < 0 ||
	    PyImport_AppendInittab("_launcher", PyInit__launcher) < 0)
		return report(argv, PYTHON_START, ENOMEM, NULL);
#endif
	PyImport_FrozenModules = frozen_modules;
	PyStatus status = start(argc, argv);
	if (PyStatus_Exception(status))
		return report(argv, PYTHON_START, 0, status.err_msg ? status.err_msg : "it exits");
	if (codec_errors() < 0)
		return report(argv, PYTHON_START, ENOMEM, NULL);
	PyGC_Disable(); /* a command ends before garbage matters; one that runs long may turn it on */
	int imported = PyImport_ImportFrozenModule("_pyrunc_boot"); /* which ends the process, if it is no maker of an image */
#if IMAGE
	if (imported > 0)
		return image_make(argc, argv);
	PyErr_Print();
#endif
	PyObject *kind, *value, *trace;
	PyErr_Fetch(&kind, &value, &trace);
	PyObject *text = imported && kind ? PyUnicode_FromFormat("%S: %S", kind, value ? value : Py_None) : NULL;
	return report(argv, FIRST_MODULE, 0, text && PyUnicode_AsUTF8(text) ? PyUnicode_AsUTF8(text) : "it is missing");
}
