/* formats.h: the `format`s of strings that are held, as regular expressions. */
#ifndef CI_GRAMMAR_FORMATS_H
#define CI_GRAMMAR_FORMATS_H

/* NULL: it is not known. */
const char *ci_format_pattern(const char *format);

/* For messages: "date, time, ...". */
extern const char ci_format_names[];

#endif
