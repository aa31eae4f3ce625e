/* What stage two and the image have in common (stage2.c), and what only the image has (image.c). */
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyMODINIT_FUNC PyInit__linux(void);
PyMODINIT_FUNC PyInit__json(void);
PyObject *PyInit__launcher(void);

/* argv of the process, and as a new list of str. */
extern char **arguments;
PyObject *argument_list(void);

/* What is done about text that cannot be decoded, before the second step of the start (codecs.c). 0, or -1 with an error. */
int codec_errors(void);

/* Whether this process goes on from an image. */
extern int image_is_restored;

/* After Py_PreInitialize(): memory that would else be mapped comes from malloc. */
void image_allocators(void);

/* The maker's end: writes the image to argv[1]. Returns the exit status. */
int image_make(int argc, char **argv);

/* Goes on from the image: runs the command of arguments and ends the process. Returns only when that failed. */
int image_run(void);

/* _launcher.ordinary(): has the ordinary stage two do the command. Returns what failed, errno and what to do. */
PyObject *ordinary(PyObject *module, PyObject *args);
