/* answer.h: what the Hub's answers are made of, for those who take them apart; private to hub. */
#ifndef CI_HUB_ANSWER_H
#define CI_HUB_ANSWER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include <clinfer.h>

/* What to do where no Hub answers. */
#define CI_HUB_NO_HUB "check HF_ENDPOINT, and whether this network has a page to log in at first"

enum clinfer_status ci_hub_no_memory(void);

/* *top is the caller's. CLINFER_REMOTE_FAILED: a web page, or no JSON. */
enum clinfer_status ci_hub_json(const char *text, size_t length, json_t **top);

/* The failure of an answer that is JSON, but has no `where`. */
enum clinfer_status ci_hub_malformed(const char *where);

/* Whether `text` (NULL is none) is so many hexadecimal digits; in lower case in taken[digits + 1] then. */
bool ci_hub_take_digits(const char *text, size_t digits, char *taken);

#endif
