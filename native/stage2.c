/* Stage two: Python in one program, with the hot modules frozen in. It starts in two steps: the core, which can import
 * what is built in or frozen and costs half; the rest (files, codecs, sys.stdout) when it is first needed. From Python 3.14 on
 * the core cannot be had alone. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "report.h"

#include <signal.h>
#include <sys/prctl.h>

PyMODINIT_FUNC PyInit__linux(void);
PyMODINIT_FUNC PyInit__json(void);
extern const struct _frozen frozen_modules[]; /* written by tools/freeze.py */

static char **arguments;

static PyObject *complete(PyObject *module, PyObject *args)
{
#ifdef TWO_STEPS
	PyStatus status = _Py_InitializeMain();
	if (PyStatus_Exception(status))
		return PyErr_Format(PyExc_ImportError, "Python cannot be set up: %s", status.err_msg ? status.err_msg : "it exits");
#endif
	Py_RETURN_NONE;
}

static int populate(PyObject *module)
{
	PyObject *argv = PyList_New(0);
	for (char **word = arguments; argv && *word; word++) {
		PyObject *text = PyUnicode_DecodeFSDefault(*word);
		if (!text || PyList_Append(argv, text) < 0)
			return -1;
		Py_DECREF(text);
	}
	if (!argv || PyModule_AddObject(module, "argv", argv) < 0)
		return -1;
	return PyModule_AddIntConstant(module, "DEBUG", DEBUG) < 0 ||
	       PyModule_AddStringConstant(module, "PACKAGE", PACKAGE) < 0 ||
	       PyModule_AddStringConstant(module, "STDLIB", STDLIB) < 0 ||
	       PyModule_AddStringConstant(module, "DYNLOAD", DYNLOAD) < 0 ||
	       PyModule_AddStringConstant(module, "SITE", SITE) < 0 ? -1 : 0;
}

static PyMethodDef functions[] = {{"complete", complete, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {{Py_mod_exec, populate}, {0, NULL}};
static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT, .m_name = "_launcher", .m_methods = functions, .m_slots = slots,
};

static PyObject *PyInit__launcher(void)
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
	PyStatus status = Py_PreInitialize(&early);
	if (PyStatus_Exception(status))
		return status;
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
	PyImport_FrozenModules = frozen_modules;
	if (PyImport_AppendInittab("pyrunc._linux", PyInit__linux) < 0 ||
	    PyImport_AppendInittab("pyrunc._json", PyInit__json) < 0 ||
	    PyImport_AppendInittab("_launcher", PyInit__launcher) < 0)
		return report(argv, "Python cannot be started", ENOMEM, "");
	PyStatus status = start(argc, argv);
	if (PyStatus_Exception(status))
		return report(argv, status.err_msg ? status.err_msg : "Python cannot be started", 0, "");
	PyGC_Disable(); /* a command ends before garbage matters; one that runs long may turn it on */
	PyImport_ImportFrozenModule("_pyrunc_boot"); /* which ends the process */
	return report(argv, "the launcher's first module failed", 0, "build and install pyrunc again");
}
