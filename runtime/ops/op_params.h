/* op_params.h: the inputs and parameters of the ops. They stand in tensor/, the vocabulary of a call, because the
 * kernels of cpu/, a layer below the ops, read them too. */
#ifndef CI_OPS_OP_PARAMS_H
#define CI_OPS_OP_PARAMS_H

#include "tensor/op_params.h"

#endif
