#include "model/decoder.h"

#include "ops/op_list.h"

static struct ci_tensor *attention(struct ci_builder *b, struct ci_tensor *x) {
    const struct ci_decoder *kind = b->model->family->decoder;
    const struct ci_layer *layer = ci_build_layer(b);
    int64_t keys = (int64_t)layer->kv_heads * layer->head_dim, values = (int64_t)layer->kv_heads * layer->value_dim;
    struct ci_tensor *hidden = ci_build_rmsnorm(b, "attn_norm", x);
    struct ci_tensor *qkv = ci_build_qkv(b, hidden, (int64_t)layer->heads * layer->head_dim, keys, values);
    struct ci_tensor *rotated = ci_build_rope(b, qkv, layer->heads + layer->kv_heads, kind->rope);
    struct ci_tensor *attended = ci_build_attention(b, rotated, &(struct ci_params){0});
    const struct ci_part output[] = {{"attn_output", b->model->hyper.embedding}, {0}};
    struct ci_tensor *out = ci_build_linear(b, "attn_output", attended, output, CI_SCALES_PRODUCT);
    return ci_build_add(b, "attn_residual", out, x);
}

static struct ci_tensor *feed_forward(struct ci_builder *b, struct ci_tensor *x) {
    const struct ci_decoder *kind = b->model->family->decoder;
    enum ci_scaling scaling = kind->ffn_scales ? CI_SCALES_SUM : CI_NOT_SCALED;
    int width = ci_build_layer(b)->feed_forward;
    const struct ci_part gate_up[] = {{"ffn_gate", width}, {"ffn_up", width}, {0}};
    const struct ci_part down[] = {{"ffn_down", b->model->hyper.embedding}, {0}};
    struct ci_tensor *hidden = ci_build_rmsnorm(b, "ffn_norm", x);
    struct ci_tensor *in[CI_MAX_INPUTS] = {ci_build_linear(b, "ffn_gate_up", hidden, gate_up, scaling)};
    struct ci_tensor *active = ci_build_op(b, &ci_op_glu, "glu", in, NULL);
    struct ci_tensor *out = ci_build_linear(b, "ffn_down", active, down, scaling);
    return ci_build_add(b, "ffn_residual", out, x);
}

void ci_decoder_build(struct ci_builder *b) {
    int layers = b->model->hyper.layers;
    struct ci_tensor *x = ci_build_embedding(b);
    for (int i = 0; i < layers; i++) {
        ci_build_enter(b, i);
        x = attention(b, x);
        x = feed_forward(b, x);
    }
    ci_build_enter(b, layers);
    x = ci_build_wanted(b, x);
    x = ci_build_rmsnorm(b, "output_norm", x);
    ci_build_sampling(b, ci_build_output(b, x));
}
