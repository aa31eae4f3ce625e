/* What Python 3.13 lacks between the two steps of its start: the table of what to do about text that cannot be decoded or
 * encoded. Earlier ones make it when it is first asked for; 3.13 makes it in the second step, and reads it unmade before that.
 * The second step makes its own in place of this. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "stage2.h"

#if PY_VERSION_HEX >= 0x030d0000 && PY_VERSION_HEX < 0x030e0000

/* Nobody else says where the table is. */
#define Py_BUILD_CORE 1
#include <internal/pycore_interp.h>

#define HANDLER(name, call) \
	static PyObject *name(PyObject *self, PyObject *error) \
	{ \
		return call(error); \
	}
HANDLER(strict, PyCodec_StrictErrors)
HANDLER(ignore, PyCodec_IgnoreErrors)
HANDLER(replace, PyCodec_ReplaceErrors)
HANDLER(xmlcharrefreplace, PyCodec_XMLCharRefReplaceErrors)
HANDLER(backslashreplace, PyCodec_BackslashReplaceErrors)
HANDLER(namereplace, PyCodec_NameReplaceErrors)

/* Half of a surrogate pair, as three bytes that UTF-8 forbids, is taken; anything else is an error. To encode one the UTF-8
 * codec needs no help, nor for surrogateescape, for which it asks only where that cannot help. */
static PyObject *surrogatepass(PyObject *self, PyObject *error)
{
	PyObject *object = NULL, *result = NULL;
	Py_ssize_t at;
	if (PyObject_TypeCheck(error, (PyTypeObject *)PyExc_UnicodeDecodeError) &&
	    PyUnicodeDecodeError_GetStart(error, &at) == 0 && (object = PyUnicodeDecodeError_GetObject(error))) {
		const unsigned char *byte = (const unsigned char *)PyBytes_AS_STRING(object) + at;
		if (PyBytes_GET_SIZE(object) - at >= 3 && byte[0] == 0xed && byte[1] >> 5 == 5 && byte[2] >> 6 == 2)
			result = Py_BuildValue("Cn", 0xd000 | (byte[1] & 0x3f) << 6 | (byte[2] & 0x3f), at + 3);
	}
	Py_XDECREF(object);
	return result || PyErr_Occurred() ? result : PyCodec_StrictErrors(error);
}

static PyMethodDef handlers[] = {
	{"strict", strict, METH_O, NULL},
	{"ignore", ignore, METH_O, NULL},
	{"replace", replace, METH_O, NULL},
	{"xmlcharrefreplace", xmlcharrefreplace, METH_O, NULL},
	{"backslashreplace", backslashreplace, METH_O, NULL},
	{"namereplace", namereplace, METH_O, NULL},
	{"surrogateescape", strict, METH_O, NULL},
	{"surrogatepass", surrogatepass, METH_O, NULL},
	{NULL, NULL, 0, NULL},
};

int codec_errors(void)
{
	PyObject *table = PyDict_New();
	for (PyMethodDef *each = handlers; table && each->ml_name; each++) {
		PyObject *handler = PyCFunction_New(each, NULL);
		if (!handler || PyDict_SetItemString(table, each->ml_name, handler) < 0)
			Py_CLEAR(table);
		Py_XDECREF(handler);
	}
	if (table)
		PyInterpreterState_Get()->codecs.error_registry = table;
	return table ? 0 : -1;
}

#else

int codec_errors(void)
{
	return 0;
}

#endif
