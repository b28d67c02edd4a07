/* fields.h: JSON objects and C structs by one table: what is read, what is written and what is refused is the same
 * list, and docs/profile-format.md is that list in words.
 *
 * Everything is checked on the way in (the file may come from anywhere) and on the way out (what is written can be read
 * again): kind, range, length, unknown and missing fields. A message reads
 *     file: field "entries[3].rows": value -1: must be a whole number from 1 to 2147483647 */
#ifndef CI_PROFILE_FIELDS_H
#define CI_PROFILE_FIELDS_H

#include <jansson.h>
#include <stddef.h>

#include <clinfer.h>

enum ci_field_kind {
    CI_FIELD_TEXT,     /* char [size]: UTF-8 without control characters, for people */
    CI_FIELD_NAME,     /* char [size]: ASCII letters, digits and ._,:+- */
    CI_FIELD_HASH,     /* uint64_t: 16 hexadecimal digits */
    CI_FIELD_INT,      /* int */
    CI_FIELD_INT64,    /* int64_t, within +-2^53 */
    CI_FIELD_UNSIGNED, /* unsigned */
    CI_FIELD_NUMBER,   /* double */
    CI_FIELD_BOOL,     /* bool */
    CI_FIELD_OTHER     /* known, but read and written by the caller */
};

struct ci_field {
    const char *name; /* NULL ends a table */
    enum ci_field_kind kind;
    size_t offset, size;     /* of the member */
    double minimum, maximum; /* of numbers, both allowed; of texts: of their length */
    bool optional;           /* may be missing: the target keeps what it has */
};

#define CI_FIELD_TEXTS(kind, type, member, minimum)                                                                    \
    { #member, kind, offsetof(type, member), sizeof((type *)0)->member, minimum, sizeof((type *)0)->member - 1, false }
#define CI_FIELD_NUMBERS(kind, type, member, minimum, maximum)                                                         \
    { #member, kind, offsetof(type, member), sizeof((type *)0)->member, minimum, maximum, false }
#define CI_FIELD_CALLERS(name, optional)                                                                               \
    { name, CI_FIELD_OTHER, 0, 0, 0, 0, optional }

/* Where in which file, for messages: "entries[3]", or "" for the whole. */
enum { CI_FIELD_WHERE_BYTES = 96 };
struct ci_field_place {
    const char *file;
    char where[CI_FIELD_WHERE_BYTES];
};

/* The place of member `name` of `place`, or of item `index` of its array `name` when `index` is not negative. */
struct ci_field_place ci_field_below(const struct ci_field_place *place, const char *name, long index);

/* CLINFER_BAD_FILE with file, field, value (NULL: a missing one) and what it must be. `name` may be "". */
enum clinfer_status ci_field_refuse(const struct ci_field_place *place, const char *name, const json_t *value,
                                    const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The same without the value, which may be a secret. */
enum clinfer_status ci_field_refuse_unseen(const struct ci_field_place *place, const char *name, const char *format,
                                           ...) __attribute__((format(printf, 3, 4)));

/* Text to JSON whose top is an object. CLINFER_BAD_FILE, with line and column; also for a key that comes twice. The
 * reference is the caller's. */
enum clinfer_status ci_field_parse(const char *file, const char *text, size_t length, size_t most, json_t **object);

/* All fields of `object`, which must be one; *target holds the defaults before. */
enum clinfer_status ci_field_read(const struct ci_field_place *place, const struct ci_field *fields,
                                  const json_t *object, void *target);

/* One value that is there. */
enum clinfer_status ci_field_read_one(const struct ci_field_place *place, const struct ci_field *field,
                                      const json_t *value, void *member);

/* Adds all fields to `object`. What reading would refuse is refused here. */
enum clinfer_status ci_field_write(const struct ci_field_place *place, const struct ci_field *fields,
                                   const void *source, json_t *object);

/* A member that is an array of at most `most` objects; *array is borrowed. */
enum clinfer_status ci_field_array(const struct ci_field_place *place, const json_t *object, const char *name,
                                   size_t most, const json_t **array);

/* "schema" and "version" of a file: these, and no others. */
enum clinfer_status ci_field_check_schema(const struct ci_field_place *place, const json_t *object, const char *schema,
                                          int version);

/* Changes it so that it passes as CI_FIELD_TEXT: what a driver says of itself need not. */
void ci_field_clean(char *text);

#endif
