/* pyrunc._json: JSON (RFC 8259) to Python's objects. What the strictness is for is said in jsontext.py, which also writes it.
 *
 * Own code, since none of the libraries reads a config as it is: jansson has no number above 2^63-1 (a limit that is
 * none is 2^64-1), json-c keeps the last of two equal names, yajl makes "?" of half a surrogate pair. CPython's _json is
 * linked into some libpythons only, and takes all three. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <string.h>

/* The way to a value: what is above it, and its name or index there. It is only looked at when there is an error. */
struct place {
	const struct place *above;
	PyObject *name;
	Py_ssize_t index;
};

struct reader {
	const char *start, *at, *end; /* a NUL follows the end */
	const struct place *place;
	int depth, max_depth, surrogates;
};

static PyObject *value(struct reader *r);

/* Raises ValueError(reason, byte, path, detail): where in the text, the names and indexes above it, the text concerned. */
static PyObject *malformed(struct reader *r, const char *at, const char *reason, PyObject *detail)
{
	PyObject *path = PyList_New(0);
	for (const struct place *p = r->place; path && p; p = p->above) {
		PyObject *step = p->name ? Py_NewRef(p->name) : PyLong_FromSsize_t(p->index);
		if (!step || PyList_Insert(path, 0, step) < 0)
			Py_CLEAR(path);
		Py_XDECREF(step);
	}
	PyObject *all = path ? Py_BuildValue("snNO", reason, (Py_ssize_t)(at - r->start), path, detail ? detail : Py_None) : NULL;
	if (all) {
		PyErr_SetObject(PyExc_ValueError, all);
		Py_DECREF(all);
	}
	return NULL;
}

static void skip_space(struct reader *r)
{
	while (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r')
		r->at++;
}

/* Four hexadecimal digits; -1 where they are not. */
static long four_digits(const char *at)
{
	long code = 0;
	for (int i = 0; i < 4; i++) {
		char c = at[i];
		int one = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
		if (one < 0)
			return -1;
		code = code * 16 + one;
	}
	return code;
}

static char *put_utf8(char *to, long code)
{
	if (code < 0x80) {
		*to++ = (char)code;
		return to;
	}
	int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
	*to++ = (char)((more == 1 ? 0xC0 : more == 2 ? 0xE0 : 0xF0) | code >> 6 * more);
	while (more--)
		*to++ = (char)(0x80 | (code >> 6 * more & 0x3F));
	return to;
}

/* One escape, r->at behind its backslash, to the code point it stands for; -1 with an error set. half: set when it is half
 * of a pair that may not stand alone. */
static long escape(struct reader *r, int *half)
{
	static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
	const char *backslash = r->at - 1, *letter = *r->at ? strchr(letters, *r->at) : NULL;

	if (letter) {
		r->at++;
		return meanings[letter - letters];
	}
	if (*r->at != 'u')
		return malformed(r, backslash, "invalid \\escape", NULL), -1;
	long code = four_digits(r->at + 1);
	if (code < 0)
		return malformed(r, r->at, "invalid \\uXXXX escape", NULL), -1;
	r->at += 5;
	if (code >= 0xD800 && code < 0xDC00 && r->at[0] == '\\' && r->at[1] == 'u') {
		long low = four_digits(r->at + 2);
		if (low >= 0xDC00 && low < 0xE000) {
			r->at += 6;
			return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
		}
	}
	if (code >= 0xD800 && code < 0xE000 && !(r->surrogates && code >= 0xDC80 && code < 0xDD00))
		*half = 1;
	return code;
}

/* A string with escapes, r->at at the first backslash and from at its first byte. It never gets longer. */
static PyObject *escaped(struct reader *r, const char *from, const char *quote)
{
	int half = 0;
	char *text = PyMem_Malloc((size_t)(r->end - from) + 1), *to = text;
	PyObject *result = NULL;

	if (!text)
		return PyErr_NoMemory();
	memcpy(to, from, (size_t)(r->at - from));
	to += r->at - from;
	while (*r->at != '"') {
		if ((unsigned char)*r->at < 0x20) {
			malformed(r, r->at < r->end ? r->at : quote, r->at < r->end ? "invalid control character" : "unterminated string", NULL);
			goto out;
		}
		if (*r->at != '\\') {
			*to++ = *r->at++;
			continue;
		}
		r->at++;
		long code = escape(r, &half);
		if (code < 0)
			goto out;
		to = put_utf8(to, code);
	}
	result = PyUnicode_DecodeUTF8(text, to - text, "surrogatepass");
	if (result && half) {
		malformed(r, quote, "half of a surrogate pair", result);
		Py_CLEAR(result);
	}
	r->at++;
out:
	PyMem_Free(text);
	return result;
}

/* r->at behind the quote. */
static PyObject *string(struct reader *r)
{
	const char *from = r->at;

	while (*r->at != '"' && *r->at != '\\' && (unsigned char)*r->at >= 0x20)
		r->at++;
	if (*r->at == '"')
		return PyUnicode_DecodeUTF8(from, r->at++ - from, NULL);
	if (*r->at == '\\')
		return escaped(r, from, from - 1);
	return r->at < r->end ? malformed(r, r->at, "invalid control character", NULL) : malformed(r, from - 1, "unterminated string", NULL);
}

static PyObject *beyond(struct reader *r, const char *from, const char *to, const char *what)
{
	PyObject *text = PyUnicode_DecodeUTF8(from, to - from, NULL);
	if (text) {
		malformed(r, from, what, text);
		Py_DECREF(text);
	}
	return NULL;
}

static const char *digits(const char *at)
{
	while (*at >= '0' && *at <= '9')
		at++;
	return at;
}

/* RFC 8259, 6. With a point or an exponent it is a float. */
static PyObject *number(struct reader *r)
{
	const char *from = r->at, *first = from + (*from == '-'), *to = *first == '0' ? first + 1 : digits(first);

	if (to == first)
		return malformed(r, from, "expecting value", NULL);
	const char *whole = to;
	if (*to == '.' && digits(to + 1) > to + 1)
		to = digits(to + 1);
	if ((*to | 32) == 'e') {
		const char *exponent = to + 1 + (to[1] == '+' || to[1] == '-');
		if (digits(exponent) > exponent)
			to = digits(exponent);
	}
	r->at = to;
	if (to > whole) {
		double real = PyOS_string_to_double(from, (char **)&whole, NULL);
		if (real == -1.0 && PyErr_Occurred())
			return NULL;
		return real - real != 0 ? beyond(r, from, to, "a number beyond what a double holds") : PyFloat_FromDouble(real);
	}
	unsigned long long size = 0;
	for (const char *at = first; at < to; at++)
		if (__builtin_mul_overflow(size, 10, &size) || __builtin_add_overflow(size, *at - '0', &size))
			return beyond(r, from, to, "a number beyond 64 bits");
	if (first == from)
		return PyLong_FromUnsignedLongLong(size);
	if (size > 1ULL << 63)
		return beyond(r, from, to, "a number beyond 64 bits");
	return PyLong_FromLongLong((long long)(0 - size));
}

/* Adds one member, r->at at its name's quote. */
static int member(struct reader *r, PyObject *object)
{
	const char *from = r->at;

	if (*from != '"')
		return malformed(r, from, "expecting property name enclosed in double quotes", NULL), -1;
	r->at++;
	PyObject *name = string(r), *item = NULL;
	if (!name)
		return -1;
	PyUnicode_InternInPlace(&name); /* most are constants of ours */
	skip_space(r);
	if (*r->at != ':') {
		malformed(r, r->at, "expecting ':' delimiter", NULL);
		goto out;
	}
	r->at++;
	int again = PyDict_Contains(object, name);
	if (again)
		again < 0 ? NULL : malformed(r, from, "a name stands twice", name);
	else {
		struct place here = {r->place, name, 0};
		r->place = &here;
		item = value(r);
		r->place = here.above;
		if (item && PyDict_SetItem(object, name, item) < 0)
			Py_CLEAR(item);
	}
out:
	Py_DECREF(name);
	Py_XDECREF(item);
	return item ? 0 : -1;
}

static int element(struct reader *r, PyObject *list)
{
	struct place here = {r->place, NULL, PyList_GET_SIZE(list)};
	r->place = &here;
	PyObject *item = value(r);
	r->place = here.above;
	int result = item ? PyList_Append(list, item) : -1;
	Py_XDECREF(item);
	return result;
}

/* What stands between brackets, r->at behind the first. */
static PyObject *items(struct reader *r, PyObject *container, char close, int (*add)(struct reader *, PyObject *))
{
	if (container && ++r->depth > r->max_depth) {
		char reason[48];
		snprintf(reason, sizeof reason, "nested deeper than %d levels", r->max_depth);
		malformed(r, r->at - 1, reason, NULL);
		Py_CLEAR(container);
	}
	if (!container)
		return NULL;
	for (int first = 1;; first = 0) {
		skip_space(r);
		if (*r->at == close && first)
			break;
		if (add(r, container) < 0)
			goto bad;
		skip_space(r);
		if (*r->at == close)
			break;
		if (*r->at != ',') {
			malformed(r, r->at, "expecting ',' delimiter", NULL);
			goto bad;
		}
		r->at++;
		skip_space(r);
	}
	r->at++;
	r->depth--;
	return container;
bad:
	Py_DECREF(container);
	return NULL;
}

static PyObject *value(struct reader *r)
{
	static const struct { const char *word; size_t size; PyObject *meaning; } words[] = {
		{"null", 4, Py_None}, {"true", 4, Py_True}, {"false", 5, Py_False},
		{"NaN", 3, NULL}, {"Infinity", 8, NULL}, {"-Infinity", 9, NULL},
	};

	skip_space(r);
	switch (*r->at) {
	case '{':
		r->at++;
		return items(r, PyDict_New(), '}', member);
	case '[':
		r->at++;
		return items(r, PyList_New(0), ']', element);
	case '"':
		r->at++;
		return string(r);
	}
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (!strncmp(r->at, words[i].word, words[i].size)) {
			if (!words[i].meaning)
				return beyond(r, r->at, r->at + words[i].size, "not a JSON value");
			r->at += words[i].size;
			return Py_NewRef(words[i].meaning);
		}
	return number(r);
}

static PyObject *read_(PyObject *module, PyObject *args)
{
	struct reader r = {0};
	PyObject *data;

	if (!PyArg_ParseTuple(args, "Sip", &data, &r.max_depth, &r.surrogates))
		return NULL;
	r.start = r.at = PyBytes_AS_STRING(data);
	r.end = r.start + PyBytes_GET_SIZE(data);
	PyObject *result = value(&r);
	skip_space(&r);
	if (result && r.at < r.end) {
		malformed(&r, r.at, "text after the end", NULL);
		Py_CLEAR(result);
	}
	return result;
}

static PyMethodDef functions[] = {
	{"read", read_, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT, .m_name = "pyrunc._json", .m_methods = functions, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__json(void)
{
	return PyModuleDef_Init(&definition);
}
