/* ignored.h: what of a body changes nothing, told in the answer's header X-Clinfer-Ignored: clients may send what they
 * like, but a name may be misspelt. One place for all dialects: each route says what is read of its body. */
#ifndef CI_SERVER_IGNORED_H
#define CI_SERVER_IGNORED_H

#include <jansson.h>

struct ci_exchange;

/* Fields of a route's body are names with spaces between. "thinking.type": the members of `thinking` are looked at,
 * too, and this one is read; "@sampling": all that ci_sampling_read() reads. */
#define CI_SAMPLING_FIELDS "@sampling seed samplers dry_sequence_breakers"

/* Those that are not among `fields`, as long as the header's 512 bytes reach; names that no header may have, and
 * members that are null, are nobody's concern. Before the answer begins. */
void ci_ignored_name(struct ci_exchange *exchange, const json_t *body, const char *fields);

/* One more, which had no effect this time. `name` may stand in a header. */
void ci_ignored_add(struct ci_exchange *exchange, const char *name);

#endif
