/* op_list.h: all ops by symbol, from the one list. */
#ifndef CI_OPS_OP_LIST_H
#define CI_OPS_OP_LIST_H

#include "ops/op.h"

#define CI_OP(symbol) extern const struct ci_op ci_op_##symbol;
#include "ops/op_list.inc"
#undef CI_OP

#endif
