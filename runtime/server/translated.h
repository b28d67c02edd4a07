/* translated.h: what dialects do with a body that was translated (translate.h), beside running it. */
#ifndef CI_SERVER_TRANSLATED_H
#define CI_SERVER_TRANSLATED_H

#include "server/translate.h"

/* Answers with what is wrong with it. */
void ci_translated_fail(struct ci_exchange *exchange, const struct ci_translation *translation);

/* How many tokens its prompt has. false: the exchange has been answered with why nobody knows. */
bool ci_translated_count(struct ci_exchange *exchange, struct ci_job *job, size_t *count);

#endif
