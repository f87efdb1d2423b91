/* The native core of ptrarray: the same results as the Python code beside it, sooner.
 *
 * What it cannot do it leaves to that code, by an answer of None; it has no message of its own. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION

#include <Python.h>
#include <numpy/arrayobject.h>
#include <stdint.h>

static uint32_t table[256]; /* of CRC-32 as zlib computes it, byte by byte */

static void fill_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = (c >> 1) ^ (c & 1 ? 0xEDB88320u : 0);
        table[i] = c;
    }
}

static PyObject *crc32(PyObject *self, PyObject *args) {
    Py_buffer buffer;
    unsigned int seed = 0;
    if (!PyArg_ParseTuple(args, "y*|I", &buffer, &seed)) return NULL;
    const uint8_t *p = buffer.buf, *end = p + buffer.len;
    uint32_t c = ~seed;
    while (p < end) c = (c >> 8) ^ table[(c ^ *p++) & 255];
    PyBuffer_Release(&buffer);
    return PyLong_FromUnsignedLong(~c);
}

static PyMethodDef functions[] = {
    {"crc32", crc32, METH_VARARGS, "crc32(buffer, seed=0): CRC-32 as zlib computes it"},
    {NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "ptrarray._native", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit__native(void) {
    if (_import_array() < 0) return NULL; /* import_array() would print what is wrong, too */
    fill_table();
    return PyModule_Create(&definition);
}
