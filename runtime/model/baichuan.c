/* baichuan: Baichuan and Baichuan 2 of 7B, which are Llama. */
#include "base/status.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS};

/* That the one of 13B knows positions in another way, is told by nothing but its size. */
static enum clinfer_status derive(struct ci_model *model) {
    if (model->hyper.blocks == 32) return CLINFER_OK;
    return ci_fail(
        CLINFER_UNSUPPORTED,
        "%s: baichuan.block_count: %d: only 32 layers (7B) are supported; the model of 13B needs positions as "
        "a bias of the attention (ALiBi)",
        ci_gguf_path(model->gguf), model->hyper.blocks);
}

const struct ci_family ci_family_baichuan = {
    .architecture = "baichuan", .keys = ci_rms_norm_keys, .decoder = &decoder, .derive = derive};
