/* prove.h: an engine that is open need not work: one that loads may fail at its first token, and one that has computed
 * one token may fail at the fourth. */
#ifndef CI_ENGINE_PROVE_H
#define CI_ENGINE_PROVE_H

#include <clinfer.h>

/* A prompt of several tokens and two steps of decode; a vector of several tokens where the engine makes these. For the
 * engine's own thread. */
enum clinfer_status ci_engine_prove(clinfer_engine *engine);

#endif
