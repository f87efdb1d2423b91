/* ptrarray._native: the loops that a store does all day, each the equal of a pure one.
 *
 * It knows memory: dicts of arrays, buffers, columns of an index. It knows no file, lock, journal or
 * message. Wherever something has to be cast, refused or explained it answers None ("not mine"), and the
 * pure code, which is always there, decides. Every number that comes out of a file is read once, and
 * bounded before it is used. Whatever is used without the GIL is kept alive by a reference of our own.
 * Stable ABI of CPython 3.11, C API of numpy 2. */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#include <Python.h>
#include <numpy/arrayobject.h>
#include <stdint.h>
#include <string.h>

#if defined(Py_GIL_DISABLED) || SIZEOF_VOID_P != 8 || NPY_BYTE_ORDER != NPY_LITTLE_ENDIAN
#error "the native core is for little-endian machines of 64 bits, and for CPython with its lock"
#endif

enum { AHEAD = 16, GROUP = 256, MAX_AXES = 32, LONG_NAME = 1 << 16, MAX_UNIT = 4096 };
static const uint32_t EMPTY = 0xFFFFFFFFu;
#define NOT_MINE return Py_NewRef(Py_None)
#define FETCH(address) __builtin_prefetch(address)
#define READ(item) (*(volatile const __typeof__(item) *)&(item)) /* once: others may change it */

/* ---- CRC-32 of zlib: by carry-less multiplication where there is any, else eight bytes a step ------ */
static uint32_t crc_table[8][256];
static void crc_prepare(void) { /* crc_table[k][byte]: of a byte that k zeros follow */
    for (uint32_t i = 0; i < 8 * 256; i++) {
        uint32_t c = i % 256;
        for (uint32_t bit = 0; bit < 8 * (i / 256 + 1); bit++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        crc_table[i / 256][i % 256] = c;
    }
}

static uint32_t crc_by_table(uint32_t c, const uint8_t *p, size_t n) {
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t x;
        memcpy(&x, p, 8);
        x ^= c;
        c = 0;
        for (int t = 0; t < 8; t++) c ^= crc_table[7 - t][(x >> (8 * t)) & 0xFF];
    }
    while (n--) c = crc_table[0][(c ^ *p++) & 0xFF] ^ (c >> 8);
    return c;
}

#if defined(__x86_64__)
#include <immintrin.h>
#define LOAD(p) _mm_loadu_si128((const __m128i *)(p))
#define FOLD(x, k, y) \
    _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00), _mm_clmulepi64_si128(x, k, 0x11)), y)

/* Of n bytes, at least 64 and a multiple of 16. Gopal et al., "Fast CRC Computation for Generic
 * Polynomials Using PCLMULQDQ Instruction", Intel, 2009; the constants are those of its appendix. */
__attribute__((target("pclmul,sse4.1"))) static uint32_t crc_by_folding(uint32_t c, const uint8_t *p, size_t n) {
    const __m128i by_64 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4),
                  by_16 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0), by_4 = _mm_set_epi64x(0, 0x0163cd6124),
                  polynomial = _mm_set_epi64x(0x01f7011641, 0x01db710641),
                  low = _mm_setr_epi32(~0, 0, ~0, 0);
    __m128i x = _mm_xor_si128(LOAD(p), _mm_cvtsi32_si128((int)c)), y = LOAD(p + 16), z = LOAD(p + 32),
            w = LOAD(p + 48);
    for (p += 64, n -= 64; n >= 64; p += 64, n -= 64) {
        x = FOLD(x, by_64, LOAD(p));
        y = FOLD(y, by_64, LOAD(p + 16));
        z = FOLD(z, by_64, LOAD(p + 32));
        w = FOLD(w, by_64, LOAD(p + 48));
    }
    x = FOLD(x, by_16, y);
    x = FOLD(x, by_16, z);
    x = FOLD(x, by_16, w);
    for (; n >= 16; p += 16, n -= 16) x = FOLD(x, by_16, LOAD(p));
    y = _mm_clmulepi64_si128(x, by_16, 0x10); /* 128 bits to 64, then to 32 */
    x = _mm_xor_si128(_mm_srli_si128(x, 8), y);
    y = _mm_srli_si128(x, 4);
    x = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(x, low), by_4, 0x00), y);
    y = _mm_clmulepi64_si128(_mm_and_si128(x, low), polynomial, 0x10);
    y = _mm_clmulepi64_si128(_mm_and_si128(y, low), polynomial, 0x00);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(x, y), 1);
}
static int can_fold(void) { return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1"); }
#else
#define crc_by_folding crc_by_table
#define can_fold() 0
#endif
static int folds;
static uint32_t crc32_of(uint32_t seed, const void *data, size_t n) {
    size_t folded = n >= 64 && folds ? n & ~(size_t)15 : 0;
    uint32_t c = folded ? crc_by_folding(~seed, data, folded) : ~seed;
    return ~crc_by_table(c, (const uint8_t *)data + folded, n - folded);
}

static PyObject *crc32(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t n_args) {
    Py_buffer view;
    if (n_args < 1 || n_args > 2) return PyErr_Format(PyExc_TypeError, "crc32(buffer, seed=0)");
    uint32_t c = n_args == 2 ? (uint32_t)PyLong_AsUnsignedLongMask(args[1]) : 0;
    if (PyErr_Occurred() || PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0) return NULL;
    PyThreadState *thread = view.len > 1 << 16 ? PyEval_SaveThread() : NULL;
    c = crc32_of(c, view.buf, (size_t)view.len);
    if (thread) PyEval_RestoreThread(thread);
    PyBuffer_Release(&view);
    return PyLong_FromUnsignedLong(c);
}

/* ---- arrays, whole and as columns -------------------------------------------------------------------- */
#define ITEMS(type, array) ((type *)PyArray_DATA((PyArrayObject *)(array)))
static PyObject *vector(npy_intp n, int type) { return PyArray_SimpleNew(1, &n, type); }
static size_t length(PyObject *column) { return (size_t)PyArray_SIZE((PyArrayObject *)column); }
static PyObject *or_none(PyObject *found) { return found || PyErr_Occurred() ? found : Py_NewRef(Py_None); }

/* Whether it is a column: one axis, contiguous, aligned, native integers of so many bytes. */
static int is_column(PyObject *object, int itemsize) {
    PyArrayObject *array = (PyArrayObject *)object;
    if (!PyArray_Check(object) || PyArray_NDIM(array) != 1 || !PyArray_ISCARRAY_RO(array)) return 0;
    char kind = PyArray_DESCR(array)->kind;
    return (kind == 'u' || kind == 'i') && PyArray_ITEMSIZE(array) == itemsize;
}

/* Whether checksums of n can go there, or are not asked for. */
static int fits_sums(PyObject *crcs, size_t n) {
    return crcs == Py_None || (is_column(crcs, 4) && PyArray_ISWRITEABLE((PyArrayObject *)crcs) && length(crcs) >= n);
}

/* Copy bytes with zeros behind them, and sum the copy, which is what will be written; or, to nowhere, them. */
static void lay(uint8_t *to, const uint8_t *from, size_t nbytes, size_t gap, uint32_t *crc) {
    if (to && nbytes) memcpy(to, from, nbytes);
    if (to && gap) memset(to + nbytes, 0, gap);
    if (crc) *crc = crc32_of(0, to ? to : from, nbytes);
}
static int is_unit(Py_ssize_t unit) { return unit > 0 && unit <= MAX_UNIT && !(unit & (unit - 1)); }

/* Bytes of a row of a contiguous array without objects, or 0 if it is another thing. */
static size_t row_nbytes(PyObject *object) {
    PyArrayObject *rows = (PyArrayObject *)object;
    if (!PyArray_CheckExact(object) || PyArray_NDIM(rows) < 1 || PyArray_NDIM(rows) > MAX_AXES ||
        !PyArray_IS_C_CONTIGUOUS(rows) || PyDataType_REFCHK(PyArray_DESCR(rows)))
        return 0;
    size_t nbytes = (size_t)PyArray_ITEMSIZE(rows);
    for (int k = 1; k < PyArray_NDIM(rows); k++) nbytes *= (size_t)PyArray_DIM(rows, k);
    return nbytes;
}

/* The same as a slice of rows, or, where `data` is NULL, a new array for as many. */
static PyObject *new_rows(PyArrayObject *rows, uint64_t n, char *data) {
    npy_intp shape[MAX_AXES];
    int n_axes = PyArray_NDIM(rows), flags = data ? PyArray_FLAGS(rows) & ~NPY_ARRAY_OWNDATA : 0;
    memcpy(shape, PyArray_DIMS(rows), (size_t)n_axes * sizeof *shape);
    shape[0] = (npy_intp)n;
    Py_INCREF((PyObject *)PyArray_DESCR(rows));
    PyObject *made = PyArray_NewFromDescr(&PyArray_Type, PyArray_DESCR(rows), n_axes, shape,
                                          data ? PyArray_STRIDES(rows) : NULL, data, flags, NULL);
    if (made && data && PyArray_SetBaseObject((PyArrayObject *)made, Py_NewRef((PyObject *)rows)) < 0) Py_CLEAR(made);
    return made;
}

/* Whether it is an array with rows as those of `like`, ready to be written as it is. */
static int is_alike(PyObject *value, PyArrayObject *like) {
    PyArrayObject *array = (PyArrayObject *)value;
    size_t shape_nbytes = (size_t)(PyArray_NDIM(like) - 1) * sizeof(npy_intp);
    return PyArray_CheckExact(value) && PyArray_NDIM(array) == PyArray_NDIM(like) && PyArray_IS_C_CONTIGUOUS(array) &&
           !memcmp(PyArray_DIMS(array) + 1, PyArray_DIMS(like) + 1, shape_nbytes) &&
           (PyArray_DESCR(array) == PyArray_DESCR(like) ||
            PyArray_EquivTypes(PyArray_DESCR(array), PyArray_DESCR(like)));
}

/* ---- a batch: the names, lengths and checksums of the arrays in a dict ------------------------------- */
static int add_name(PyObject *joined, PyObject *key) {
    Py_ssize_t n, before = PyByteArray_Size(joined);
    const char *name = PyUnicode_CheckExact(key) ? PyUnicode_AsUTF8AndSize(key, &n) : NULL;
    if (!name || n > LONG_NAME || PyByteArray_Resize(joined, before + n) < 0) return PyErr_Clear(), 0;
    memcpy(PyByteArray_AsString(joined) + before, name, (size_t)n);
    return 1;
}

/* Take a group of a dict's items; returns how many, or -1 if one does not fit. Held, as comparing may run code. */
static Py_ssize_t take_group(PyObject *dict, Py_ssize_t *at, PyArrayObject *like, PyObject *joined, int64_t *ends,
                             int64_t *offsets, PyObject *arrays, Py_ssize_t first) {
    PyObject *keys[GROUP], *values[GROUP];
    Py_ssize_t n = 0, i = 0, room = PyList_Size(arrays) - first;
    for (; n < GROUP && PyDict_Next(dict, at, &keys[n], &values[n]); n++) Py_INCREF(keys[n]), Py_INCREF(values[n]);
    for (; i < n && n <= room && is_alike(values[i], like) && add_name(joined, keys[i]); i++) {
        ends[first + i] = PyByteArray_Size(joined);
        offsets[first + i + 1] = offsets[first + i] + PyArray_DIM((PyArrayObject *)values[i], 0);
        PyList_SetItem(arrays, first + i, Py_NewRef(values[i]));
    }
    for (Py_ssize_t k = 0; k < n; k++) Py_DECREF(keys[k]), Py_DECREF(values[k]);
    return i < n ? -1 : n;
}

/* prepare(arrays, like, sum_limit): of a dict from str to arrays with rows as those of `like`, (names end to end,
 * where each ends, their hashes, offsets in rows, checksums, list of the arrays). There are checksums if the arrays
 * have at most `sum_limit` bytes together, which is for a few; else None, and `stage` makes them. */
static PyObject *prepare(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *dict, *like;
    Py_ssize_t limit, at = 0, i = 0, taken;
    if (!PyArg_ParseTuple(args, "OOn", &dict, &like, &limit)) return NULL;
    Py_ssize_t width = (Py_ssize_t)row_nbytes(like), n = PyDict_CheckExact(dict) ? PyDict_Size(dict) : 0;
    if (!n || !width) NOT_MINE;
    PyObject *joined = PyByteArray_FromStringAndSize(NULL, 0), *arrays = PyList_New(n), *ends = vector(n, NPY_INT64),
             *hashes = vector(n, NPY_UINT32), *offsets = vector(n + 1, NPY_INT64), *crcs = vector(n, NPY_UINT32),
             *out = NULL;
    if (joined && arrays && ends && hashes && offsets && crcs) {
        int64_t *end = ITEMS(int64_t, ends), *offset = ITEMS(int64_t, offsets);
        offset[0] = 0;
        while ((taken = take_group(dict, &at, (PyArrayObject *)like, joined, end, offset, arrays, i)) > 0) i += taken;
        if (!taken && i == n) { /* else one does not fit, or comparing has changed the dict */
            const char *names = PyByteArray_AsString(joined);
            int sums = offset[n] <= limit / width;
            for (i = 0; i < n && sums; i++) {
                PyArrayObject *array = (PyArrayObject *)PyList_GetItem(arrays, i);
                ITEMS(uint32_t, crcs)[i] = crc32_of(0, PyArray_DATA(array), (size_t)PyArray_NBYTES(array));
            }
            Py_BEGIN_ALLOW_THREADS
            for (int64_t k = 0, from = 0; k < n; from = end[k++])
                ITEMS(uint32_t, hashes)[k] = crc32_of(0, names + from, (size_t)(end[k] - from));
            Py_END_ALLOW_THREADS
            out = PyTuple_Pack(6, joined, ends, hashes, offsets, sums ? crcs : Py_None, arrays);
        }
    }
    Py_XDECREF(joined), Py_XDECREF(arrays), Py_XDECREF(ends);
    Py_XDECREF(hashes), Py_XDECREF(offsets), Py_XDECREF(crcs);
    return or_none(out);
}

/* stage(arrays, first, buffer, checksums or None, unit = 1): copies arrays, as many as fit, with zeros up to a multiple
 * of `unit` behind each, and sets the checksum of each copy, which will be written. Returns (next, bytes used). */
static PyObject *stage(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *list, *crcs, *held[GROUP];
    Py_buffer buffer;
    Py_ssize_t next, used = 0, unit = 1;
    if (!PyArg_ParseTuple(args, "O!nw*O|n", &PyList_Type, &list, &next, &buffer, &crcs, &unit)) return NULL;
    Py_ssize_t last = PyList_Size(list);
    int mine = next >= 0 && is_unit(unit) && fits_sums(crcs, (size_t)last), n = GROUP;
    while (n == GROUP && mine) { /* fewer: the list ends, or the buffer */
        const uint8_t *from[GROUP];
        Py_ssize_t nbytes[GROUP], gaps[GROUP], end = used;
        for (n = 0; n < GROUP && next + n < last && next + n < PyList_Size(list); end += nbytes[n] + gaps[n], n++) {
            PyArrayObject *array = (PyArrayObject *)PyList_GetItem(list, next + n);
            if (!PyArray_Check((PyObject *)array) || !PyArray_IS_C_CONTIGUOUS(array)) break;
            from[n] = PyArray_DATA(array), nbytes[n] = PyArray_NBYTES(array), gaps[n] = -nbytes[n] & (unit - 1);
            if (nbytes[n] > buffer.len - end - gaps[n]) break;
            held[n] = Py_NewRef((PyObject *)array);
        }
        uint32_t *crc = crcs == Py_None || !n ? NULL : ITEMS(uint32_t, crcs) + next;
        Py_BEGIN_ALLOW_THREADS
        for (int i = 0; i < n; used += nbytes[i] + gaps[i], i++) {
            if (i + AHEAD < n) FETCH(from[i + AHEAD]);
            lay((uint8_t *)buffer.buf + used, from[i], (size_t)nbytes[i], (size_t)gaps[i], crc ? crc + i : NULL);
        }
        Py_END_ALLOW_THREADS
        for (int i = 0; i < n; i++) Py_DECREF(held[i]);
        next += n;
    }
    PyBuffer_Release(&buffer);
    return mine ? Py_BuildValue("nn", next, used) : Py_NewRef(Py_None);
}

/* ---- the name table ------------------------------------------------------------------------------------ */
/* Home slots rise with the hash: see ptrarray/format/table.py. */
static inline uint64_t home_of(uint32_t hash, uint64_t n_homes) { return hash * n_homes >> 32; }

/* ---- finding: names to positions, positions to views --------------------------------------------------- */
typedef struct {
    PyObject_HEAD
    PyObject *columns;   /* a tuple that keeps what follows alive; in an iterator, too */
    PyArrayObject *rows; /* or NULL */
    PyObject *parts;     /* of a catalog: a list of finders, through whose arrays `name_ends` counts; else NULL */
    const uint32_t *slots;
    const uint64_t *name_ends, *starts, *ends;
    const uint8_t *names;
    uint64_t n_slots, n_homes, n_arrays, names_nbytes, n_rows, width;
} Finder;

typedef struct {
    PyObject_HEAD
    PyObject *columns;
    Finder *finder;
    PyObject *other;
    uint64_t position;
    int pairs;
} Iterator;

enum { ABSENT = -1, ASTRAY = -2 };
static PyTypeObject *FinderType, *IteratorType;

/* A finder by a name table, which keeps the columns alive; None if the table cannot be one, or is not aligned. */
static PyObject *finder_of(PyObject *slots, unsigned long long n_homes, PyObject *ends, PyObject *columns) {
    int is_sound = is_column(slots, 4) && is_column(ends, 8) && length(slots) % 2 == 0 && n_homes < EMPTY &&
                   length(slots) / 2 > n_homes;
    Finder *finder = is_sound && columns ? PyObject_New(Finder, FinderType) : NULL;
    if (!finder) return Py_XDECREF(columns), or_none(NULL);
    memset((char *)finder + sizeof(PyObject), 0, sizeof(Finder) - sizeof(PyObject));
    finder->columns = columns, finder->name_ends = ITEMS(uint64_t, ends);
    finder->slots = ITEMS(uint32_t, slots), finder->n_slots = length(slots) / 2, finder->n_homes = n_homes;
    return (PyObject *)finder;
}

/* finder(slots, n_homes, name_ends, names, starts, ends, rows or None): None if these do not go together. */
static PyObject *new_finder(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *slots, *name_ends, *names, *starts, *ends, *rows;
    unsigned long long n_homes;
    if (!PyArg_ParseTuple(args, "OKOOOOO", &slots, &n_homes, &name_ends, &names, &starts, &ends, &rows)) return NULL;
    if (!is_column(name_ends, 8) || !is_column(names, 1) || !is_column(starts, 8) || !is_column(ends, 8) ||
        length(starts) != length(name_ends) || length(ends) != length(name_ends) || length(name_ends) >= EMPTY ||
        (rows != Py_None && !row_nbytes(rows)))
        NOT_MINE;
    uint64_t n_rows = rows == Py_None ? 0 : (uint64_t)PyArray_DIM((PyArrayObject *)rows, 0);
    /* A view of our own, whose shape nobody else can set. */
    rows = rows == Py_None ? Py_NewRef(rows) : new_rows((PyArrayObject *)rows, n_rows, ITEMS(char, rows));
    PyObject *columns = rows ? PyTuple_Pack(6, slots, name_ends, names, starts, ends, rows) : NULL;
    PyObject *made = finder_of(slots, n_homes, name_ends, columns);
    if (made && made != Py_None) {
        Finder *finder = (Finder *)made;
        finder->n_arrays = length(name_ends), finder->n_rows = n_rows;
        finder->names = ITEMS(uint8_t, names), finder->names_nbytes = length(names);
        finder->starts = ITEMS(uint64_t, starts), finder->ends = ITEMS(uint64_t, ends);
        if (rows != Py_None) finder->rows = (PyArrayObject *)rows, finder->width = row_nbytes(rows);
    }
    return Py_XDECREF(rows), made;
}

/* catalog(slots, n_homes, ends, parts): a finder of names in several, a list in which None is not mine. */
static PyObject *new_catalog(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *slots, *ends, *parts;
    unsigned long long n_homes;
    if (!PyArg_ParseTuple(args, "OKOO!", &slots, &n_homes, &ends, &PyList_Type, &parts)) return NULL;
    PyObject *made = finder_of(slots, n_homes, ends, PyTuple_Pack(3, slots, ends, parts));
    if (made && made != Py_None) ((Finder *)made)->parts = parts;
    return made;
}

static void free_it(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((Finder *)self)->columns);
    PyObject_Free(self);
    Py_DECREF(type);
}

typedef struct {
    const uint8_t *name;
    size_t nbytes;
    uint32_t hash;
    int64_t position; /* the answer */
    const Finder *part; /* of a catalog: that of the first position with this hash, which became `position` */
    uint64_t counted;   /* that position, through all parts */
} Query;

/* The bytes of the name at a position, or NULL if they do not lie in their column. */
static inline const uint8_t *name_at(const Finder *finder, uint64_t position, size_t *nbytes) {
    uint64_t from = position ? READ(finder->name_ends[position - 1]) : 0, to = READ(finder->name_ends[position]);
    *nbytes = to - from;
    return from <= to && to <= finder->names_nbytes ? finder->names + from : NULL;
}

/* Of a catalog, the part that a position is in, or NULL; the position becomes that there, below the part's number. */
static const Finder *part_of(const Finder *catalog, uint64_t *position) {
    uint64_t number = 0, n = length(PyTuple_GetItem(catalog->columns, 1));
    for (; n > 1; n -= n / 2) /* how many ends are not larger, without a branch that could be guessed wrong */
        number += READ(catalog->name_ends[number + n / 2 - 1]) <= *position ? n / 2 : 0;
    number += n && READ(catalog->name_ends[number]) <= *position;
    int is_there = (Py_ssize_t)number < PyList_Size(catalog->parts);
    PyObject *part = is_there ? PyList_GetItem(catalog->parts, (Py_ssize_t)number) : NULL;
    *position = number << 32 | (uint32_t)(*position - (number ? READ(catalog->name_ends[number - 1]) : 0));
    return part && Py_TYPE(part) == FinderType && !((Finder *)part)->parts ? (Finder *)part : NULL;
}

/* The position of a name, the last one in a catalog, and the finder that has it. */
static int64_t probe(const Finder *finder, const Query *query, const Finder **owner) {
    int64_t found = ABSENT;
    for (uint64_t slot = home_of(query->hash, finder->n_homes); slot < finder->n_slots; slot++) {
        uint32_t hash = READ(finder->slots[2 * slot]);
        uint64_t position = READ(finder->slots[2 * slot + 1]);
        if (position == EMPTY) return found;
        if (hash != query->hash) continue;
        const Finder *part = finder;
        if (finder->parts && query->part && query->counted == position)
            part = query->part, position = (uint64_t)query->position;
        else if (finder->parts)
            part = part_of(finder, &position);
        size_t nbytes;
        uint32_t at = (uint32_t)position;
        const uint8_t *name = part && at < part->n_arrays ? name_at(part, at, &nbytes) : NULL;
        if (!name) return ASTRAY;
        if (nbytes == query->nbytes && !memcmp(name, query->name, nbytes))
            *owner = part, found = (int64_t)position;
        else if (finder->parts && found < 0)
            found = ASTRAY; /* of the same hash, or a catalog that is wrong */
        if (found >= 0 && !finder->parts) return found;
    }
    return ASTRAY;
}

/* Find a group of names in rounds: each asks for the memory that the next one needs, of all of them. */
static void probe_group(const Finder *finder, Query *queries, int n) {
    for (int i = 0; i < n; i++) FETCH(finder->slots + 2 * home_of(queries[i].hash, finder->n_homes));
    for (int i = 0; i < n; i++) {
        uint64_t slot = home_of(queries[i].hash, finder->n_homes), last = slot + 4;
        while (slot < last && slot + 1 < finder->n_slots && READ(finder->slots[2 * slot]) != queries[i].hash) slot++;
        uint64_t position = queries[i].counted = READ(finder->slots[2 * slot + 1]);
        const Finder *part = finder->parts && position != EMPTY ? part_of(finder, &position) : finder;
        uint32_t at = (uint32_t)position;
        queries[i].position = (int64_t)position, queries[i].part = part && at < part->n_arrays ? part : NULL;
        if (queries[i].part) FETCH(part->name_ends + at), FETCH(part->starts + at), FETCH(part->ends + at);
    }
    for (int i = 0; i < n; i++) {
        const Finder *part = queries[i].part;
        uint64_t end = part ? READ(part->name_ends[(uint32_t)queries[i].position]) : 0;
        if (end && end <= part->names_nbytes) FETCH(part->names + end - 1);
    }
    const Finder *owner;
    for (int i = 0; i < n; i++) queries[i].position = probe(finder, &queries[i], &owner);
}

static int set_query(Query *query, PyObject *key) {
    Py_ssize_t n = 0;
    const char *name = NULL;
    if (PyUnicode_CheckExact(key))
        name = PyUnicode_AsUTF8AndSize(key, &n);
    else if (PyBytes_CheckExact(key))
        name = PyBytes_AsString(key), n = PyBytes_Size(key);
    if (!name) return PyErr_Clear(), 0;
    query->name = (const uint8_t *)name, query->nbytes = (size_t)n;
    query->hash = crc32_of(0, name, (size_t)n);
    query->part = NULL;
    return 1;
}

/* The same as a slice of the rows; NULL, without an error, for a pointer that leads out of them. */
static PyObject *view_of(const Finder *finder, uint64_t position) {
    uint64_t start = READ(finder->starts[position]), end = READ(finder->ends[position]);
    if (start == end && start > finder->n_rows && start <= INT64_MAX) start = end = finder->n_rows; /* a slice */
    if (!finder->rows || start > end || end > finder->n_rows) return NULL;
    return new_rows(finder->rows, end - start, PyArray_BYTES(finder->rows) + start * finder->width);
}

/* The position of a name that is asked for, and the finder that has it. */
static int64_t ask(PyObject *self, PyObject *name, const Finder **owner) {
    Query query;
    return set_query(&query, name) ? probe((Finder *)self, &query, owner) : ASTRAY;
}

/* get(name): its array, a view; None if it is not there, and where something is wrong. */
static PyObject *finder_get(PyObject *self, PyObject *name) {
    const Finder *owner;
    int64_t position = ask(self, name, &owner);
    return or_none(position < 0 ? NULL : view_of(owner, (uint32_t)position));
}

/* find(name): its position, or -1 if it is not there; None where something is wrong. */
static PyObject *finder_find(PyObject *self, PyObject *name) {
    const Finder *owner;
    int64_t position = ask(self, name, &owner);
    return position == ASTRAY ? Py_NewRef(Py_None) : PyLong_FromLongLong(position);
}

/* at(position): the array there, a view. */
static PyObject *finder_at(PyObject *self, PyObject *number) {
    Finder *finder = (Finder *)self;
    size_t position = PyLong_CheckExact(number) ? PyLong_AsSize_t(number) : SIZE_MAX;
    if (position < finder->n_arrays) return or_none(view_of(finder, position));
    return PyErr_Clear(), Py_NewRef(Py_None);
}

/* find_many(list of str or bytes, None, None) or (names end to end, where each ends, hashes): positions, or -1. */
static PyObject *finder_find_many(PyObject *self, PyObject *args) {
    PyObject *names, *name_ends, *hashes;
    if (!PyArg_ParseTuple(args, "OOO", &names, &name_ends, &hashes)) return NULL;
    int is_list = PyList_CheckExact(names);
    if (!is_list && (!is_column(names, 1) || !is_column(name_ends, 8) || !is_column(hashes, 4) ||
                     length(name_ends) != length(hashes)))
        NOT_MINE;
    size_t n = is_list ? (size_t)PyList_Size(names) : length(hashes), from = 0, to;
    PyObject *positions = vector((npy_intp)n, NPY_INT64);
    int mine = positions != NULL, count;
    for (size_t first = 0; first < n && mine; first += (size_t)count) {
        Query queries[GROUP];
        for (count = 0; count < GROUP && first + (size_t)count < n && mine; count++) {
            if (is_list) {
                mine = set_query(&queries[count], PyList_GetItem(names, (Py_ssize_t)first + count));
                continue;
            }
            size_t at = first + (size_t)count;
            to = READ(ITEMS(uint64_t, name_ends)[at]);
            mine = from <= to && to <= length(names);
            queries[count] = (Query){ITEMS(uint8_t, names) + from, to - from, ITEMS(uint32_t, hashes)[at], 0, NULL, 0};
            from = to;
        }
        if (mine) probe_group((Finder *)self, queries, count);
        for (int i = 0; i < count && mine; i++)
            mine = (ITEMS(int64_t, positions)[first + (size_t)i] = queries[i].position) != ASTRAY;
    }
    if (!mine) Py_CLEAR(positions);
    return or_none(positions);
}

/* gather(rows, starts, ends, out or None, checksums or None, unit = 1): ranges of rows copied end to end, with zeros up
 * to a multiple of `unit` rows behind each, and where each of them begins. Sets the checksum of each copy, without the
 * zeros; where there is no `out`, of the rows themselves, and copies nothing. */
static PyObject *gather(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *rows, *starts, *ends, *to_fill = Py_None, *crcs = Py_None, *values = NULL, *out = NULL;
    Py_ssize_t unit = 1;
    if (!PyArg_ParseTuple(args, "OOO|OOn", &rows, &starts, &ends, &to_fill, &crcs, &unit)) return NULL;
    uint64_t width = row_nbytes(rows), n_rows = width ? (uint64_t)PyArray_DIM((PyArrayObject *)rows, 0) : 0, total = 0;
    if (!width || !is_column(starts, 8) || !is_column(ends, 8) || length(starts) != length(ends) || !is_unit(unit) ||
        !fits_sums(crcs, length(starts)) ||
        (to_fill != Py_None && (row_nbytes(to_fill) != width || !PyArray_ISWRITEABLE((PyArrayObject *)to_fill))))
        NOT_MINE;
    size_t n = length(starts);
    PyObject *offsets = vector((npy_intp)n + 1, NPY_INT64);
    int mine = offsets != NULL, is_new = to_fill == Py_None && crcs == Py_None;
    for (size_t i = 0; i < n && mine; i++) {
        uint64_t start = READ(ITEMS(uint64_t, starts)[i]), end = READ(ITEMS(uint64_t, ends)[i]);
        ITEMS(uint64_t, offsets)[i] = total;
        total += (end - start + (uint64_t)unit - 1) & ~((uint64_t)unit - 1);
        mine = start <= end && end <= n_rows && total <= (uint64_t)PY_SSIZE_T_MAX / width;
    }
    if (mine && to_fill != Py_None) mine = total == (uint64_t)PyArray_DIM((PyArrayObject *)to_fill, 0);
    if (mine && (values = is_new ? new_rows((PyArrayObject *)rows, total, NULL) : Py_NewRef(to_fill))) {
        uint64_t *start = ITEMS(uint64_t, starts), *end = ITEMS(uint64_t, ends), *offset = ITEMS(uint64_t, offsets);
        uint8_t *from = ITEMS(uint8_t, rows), *to = values == Py_None ? NULL : ITEMS(uint8_t, values);
        uint32_t *crc = crcs == Py_None ? NULL : ITEMS(uint32_t, crcs);
        offset[n] = total;
        Py_BEGIN_ALLOW_THREADS
        for (size_t i = 0; i < n; i++) {
            uint64_t first = READ(start[i]), count = READ(end[i]) - first, room = offset[i + 1] - offset[i];
            if (i + AHEAD < n && READ(start[i + AHEAD]) < n_rows) FETCH(from + start[i + AHEAD] * width);
            if (count > room || count > n_rows || first > n_rows - count) first = count = 0; /* changed meanwhile */
            lay(to ? to + offset[i] * width : NULL, from + first * width, count * width, (room - count) * width,
                crc ? crc + i : NULL);
        }
        Py_END_ALLOW_THREADS
        out = PyTuple_Pack(2, values, offsets);
    }
    return Py_XDECREF(values), Py_XDECREF(offsets), or_none(out);
}

/* iterate(pairs, other): views, or pairs of name and view, in order; where one is wrong, `other(position)`. */
static PyObject *finder_iterate(PyObject *self, PyObject *args) {
    int pairs;
    PyObject *other;
    if (!PyArg_ParseTuple(args, "pO", &pairs, &other)) return NULL;
    if (!((Finder *)self)->rows) NOT_MINE;
    Iterator *iterator = PyObject_New(Iterator, IteratorType);
    if (!iterator) return NULL;
    iterator->finder = (Finder *)self, iterator->other = other, iterator->position = 0, iterator->pairs = pairs;
    if (!(iterator->columns = PyTuple_Pack(2, self, other))) Py_CLEAR(iterator);
    return (PyObject *)iterator;
}

static PyObject *text_of(const Finder *finder, uint64_t position) {
    size_t nbytes;
    const char *name = (const char *)name_at(finder, position, &nbytes);
    PyObject *text = name ? PyUnicode_DecodeUTF8(name, (Py_ssize_t)nbytes, NULL) : NULL;
    if (name && !text && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) PyErr_Clear();
    return text;
}

static PyObject *iterator_next(PyObject *self) {
    Iterator *iterator = (Iterator *)self;
    if (iterator->position >= iterator->finder->n_arrays) return NULL;
    uint64_t position = iterator->position++;
    PyObject *view = view_of(iterator->finder, position), *name = NULL, *found = NULL;
    if (view && iterator->pairs) name = text_of(iterator->finder, position);
    if (view && (name || !iterator->pairs)) found = name ? PyTuple_Pack(2, name, view) : Py_NewRef(view);
    Py_XDECREF(name), Py_XDECREF(view);
    if (found || PyErr_Occurred()) return found;
    return PyObject_CallFunction(iterator->other, "K", (unsigned long long)position);
}

/* ---- the module ---------------------------------------------------------------------------------------- */
static PyMethodDef finder_methods[] = {{"get", finder_get, METH_O, NULL},
                                       {"find", finder_find, METH_O, NULL},
                                       {"at", finder_at, METH_O, NULL},
                                       {"find_many", finder_find_many, METH_VARARGS, NULL},
                                       {"iterate", finder_iterate, METH_VARARGS, NULL},
                                       {0}};
static PyType_Slot finder_slots[] = {{Py_tp_dealloc, free_it}, {Py_tp_methods, finder_methods}, {0}},
                   iterator_slots[] = {{Py_tp_dealloc, free_it}, {Py_tp_iter, PyObject_SelfIter},
                                       {Py_tp_iternext, iterator_next}, {0}};
enum { FLAGS = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE };
static PyType_Spec finder_spec = {"ptrarray._native.Finder", sizeof(Finder), 0, FLAGS, finder_slots},
                   iterator_spec = {"ptrarray._native.Iterator", sizeof(Iterator), 0, FLAGS, iterator_slots};
static PyMethodDef methods[] = {{"crc32", (PyCFunction)(void (*)(void))crc32, METH_FASTCALL, NULL},
                                {"prepare", prepare, METH_VARARGS, NULL},
                                {"stage", stage, METH_VARARGS, NULL},
                                {"finder", new_finder, METH_VARARGS, NULL},
                                {"catalog", new_catalog, METH_VARARGS, NULL},
                                {"gather", gather, METH_VARARGS, NULL},
                                {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", "interface 5", -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) {
    if (_import_array() < 0) return NULL; /* import_array() would print why */
    crc_prepare();
    folds = can_fold();
    FinderType = (PyTypeObject *)PyType_FromSpec(&finder_spec);
    IteratorType = (PyTypeObject *)PyType_FromSpec(&iterator_spec);
    return FinderType && IteratorType ? PyModule_Create(&module) : NULL;
}
