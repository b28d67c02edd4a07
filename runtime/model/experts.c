/* experts.c: a feed-forward of many, of which each row uses some: ffn_gate_inp chooses, ffn_gate_exps, ffn_up_exps and
 * ffn_down_exps are those of all experts one behind the other (Shazeer et al. 2017, arXiv 1701.06538). */
#include <stdio.h>

#include "base/status.h"
#include "model/build.h"
#include "ops/op_list.h"

enum { NAME_BYTES = 64 };

struct mixture {
    const struct ci_experts *kind;
    int64_t experts, width;
    struct ci_tensor *ids, *weights, *order, *starts; /* of op route */
};

/* What the file calls 1, 2 and 3. */
static int gating_of(const struct ci_experts *kind, const struct ci_hyper *h) {
    static const int known[] = {CI_GATING_SOFTMAX, CI_GATING_SIGMOID, CI_GATING_SOFTMAX_CHOSEN};
    return h->expert_gating >= 1 && h->expert_gating <= 3 ? known[h->expert_gating - 1] : kind->gating;
}

static bool route(struct ci_builder *b, struct ci_tensor *x, struct mixture *mixture) {
    const struct ci_hyper *h = &b->model->hyper;
    const struct ci_experts *kind = mixture->kind;
    const struct ci_part router[] = {{"ffn_gate_inp", mixture->experts}, {0}};
    struct ci_params params = {.i = {[CI_ROUTE_I_USED] = h->experts_used,
                                     [CI_ROUTE_I_GATING] = gating_of(kind, h),
                                     [CI_ROUTE_I_NORMALISE] = kind->normalise || h->experts_normalised,
                                     [CI_ROUTE_I_GROUPS] = h->expert_groups,
                                     [CI_ROUTE_I_GROUPS_USED] = h->expert_groups_used},
                               .f = {[CI_ROUTE_F_SCALE] = h->expert_scale != 0 ? h->expert_scale : 1}};
    if (kind->chosen_first) x = b->layer_input;
    struct ci_tensor *in[CI_MAX_INPUTS] = {ci_build_linear(b, "ffn_gate_inp", x, router, CI_NOT_SCALED)};
    if (kind->bias) in[1] = ci_build_weight(b, false, 1, mixture->experts, kind->bias);
    mixture->ids = ci_build_op(b, &ci_op_route, "ffn_route", in, &params);
    if (!mixture->ids) return false;
    struct ci_tensor *const *out = b->graph->last->out;
    mixture->weights = out[1];
    mixture->order = out[2];
    mixture->starts = out[3];
    return true;
}

static struct ci_tensor *part(struct ci_builder *b, bool required, int64_t rows, int64_t cols, const char *stem,
                              const char *end) {
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%s", stem, end);
    return ci_build_weight(b, required, rows, cols, name);
}

/* One matrix of each chosen expert, or two side by side. */
static struct ci_tensor *product(struct ci_builder *b, const struct mixture *mixture, struct ci_tensor *x,
                                 const char *label, struct ci_tensor *const w[2], struct ci_tensor *const bias[2]) {
    struct ci_tensor *in[CI_MAX_INPUTS] = {[CI_EXPERTS_X] = x,
                                           [CI_EXPERTS_W0] = w[0],
                                           [CI_EXPERTS_W1] = w[1],
                                           [CI_EXPERTS_IDS] = mixture->ids,
                                           [CI_EXPERTS_ORDER] = mixture->order,
                                           [CI_EXPERTS_STARTS] = mixture->starts,
                                           [CI_EXPERTS_B0] = bias[0],
                                           [CI_EXPERTS_B1] = bias[1]};
    return ci_build_op(b, &ci_op_matmul_experts, label, in, NULL);
}

/* [R, used * rows of both] = x w^T + b, times what the file scales an expert's matrix with. */
static struct ci_tensor *multiply(struct ci_builder *b, const struct mixture *mixture, struct ci_tensor *x,
                                  const char *label, const char *const stems[2], int64_t rows, int64_t cols) {
    struct ci_tensor *w[2] = {NULL}, *bias[2] = {NULL}, *scales[2] = {NULL}, *y;
    for (int i = 0; i < 2 && stems[i]; i++) {
        w[i] = part(b, true, mixture->experts * rows, cols, stems[i], ".weight");
        bias[i] = ci_build_flat(b, part(b, false, mixture->experts, rows, stems[i], ".bias"));
        if (mixture->kind->scales) scales[i] = part(b, false, 1, mixture->experts, stems[i], ".scale");
    }
    if (b->graph->status != CLINFER_OK) return NULL;
    bool alike = !w[1] || (w[0]->view.type == w[1]->view.type && !bias[0] == !bias[1]);
    if (alike) {
        y = product(b, mixture, x, label, w, bias);
    } else {
        struct ci_tensor *const second[2] = {w[1], NULL}, *const second_bias[2] = {bias[1], NULL};
        struct ci_tensor *const first[2] = {w[0], NULL}, *const first_bias[2] = {bias[0], NULL};
        struct ci_tensor *parts[CI_MAX_INPUTS] = {product(b, mixture, x, label, first, first_bias),
                                                  product(b, mixture, x, label, second, second_bias)};
        y = ci_build_op(b, &ci_op_concat, label, parts, NULL);
    }
    if (!scales[0] && !scales[1]) return y;
    if (bias[0] || bias[1] || !scales[0] || (w[1] && !scales[1]))
        return ci_build_refuse(b, label, "scales beside biases, or of one of two matrices, are not supported");
    struct ci_tensor *in[CI_MAX_INPUTS] = {y, mixture->ids, scales[0], scales[1]};
    return ci_build_op(b, &ci_op_scale_experts, label, in, NULL);
}

/* y times sigmoid(x w^T): a choice of one expert of one, whose weight that is. */
static struct ci_tensor *gated(struct ci_builder *b, struct ci_tensor *x, struct ci_tensor *y) {
    const struct ci_part gate[] = {{"ffn_gate_inp_shexp", 1}, {0}};
    const struct ci_params params = {.i = {[CI_ROUTE_I_USED] = 1, [CI_ROUTE_I_GATING] = CI_GATING_SIGMOID},
                                     .f = {[CI_ROUTE_F_SCALE] = 1}};
    struct ci_tensor *in[CI_MAX_INPUTS] = {ci_build_linear(b, "ffn_gate_inp_shexp", x, gate, CI_NOT_SCALED)};
    if (!ci_build_op(b, &ci_op_route, "ffn_gate_shexp_weight", in, &params)) return NULL;
    struct ci_tensor *parts[CI_MAX_INPUTS] = {y, b->graph->last->out[1]};
    return ci_build_op(b, &ci_op_combine, "ffn_gated_shexp", parts, NULL);
}

/* One more that every row uses. */
static struct ci_tensor *shared(struct ci_builder *b, const struct ci_experts *kind, struct ci_tensor *x) {
    int64_t width = b->model->hyper.shared_feed_forward;
    const struct ci_part two[] = {{"ffn_gate_shexp", width}, {"ffn_up_shexp", width}, {0}};
    const struct ci_part one[] = {{"ffn_up_shexp", 2 * width}, {0}}, *gate_up = kind->shared_gate_in_up ? one : two;
    const struct ci_part down[] = {{"ffn_down_shexp", x->view.cols}, {0}};
    enum ci_scaling scaling = kind->scales ? CI_SCALES_SUM : CI_NOT_SCALED;
    struct ci_tensor *y = ci_build_linear(b, "ffn_gate_up_shexp", x, gate_up, scaling);
    y = ci_build_glu(b, "ffn_glu_shexp", y, kind->activation);
    y = ci_build_linear(b, "ffn_down_shexp", y, down, scaling);
    return kind->shared_gate ? gated(b, x, y) : y;
}

/* From two matrices, or one in which the rows of each expert's gate come before those of its up. */
static struct ci_tensor *gate_and_up(struct ci_builder *b, const struct mixture *mixture, struct ci_tensor *x) {
    static const char *const two[] = {"ffn_gate_exps", "ffn_up_exps"}, *const one[] = {"ffn_gate_up_exps", NULL};
    bool merged = ci_build_has(b, "ffn_gate_up_exps.weight");
    int64_t width = mixture->width;
    if (merged && width % 32)
        return ci_build_refuse(b, one[0], "gate and up of experts in one matrix must be multiples of 32 rows each");
    struct ci_tensor *y =
        multiply(b, mixture, x, "ffn_gate_up_exps", merged ? one : two, merged ? 2 * width : width, x->view.cols);
    return ci_build_glu_slices(b, "ffn_glu_exps", y, mixture->kind->activation, merged ? width : 0);
}

struct ci_tensor *ci_build_experts(struct ci_builder *b, const struct ci_experts *kind, struct ci_tensor *x) {
    static const char *const down[] = {"ffn_down_exps", NULL};
    const struct ci_hyper *h = &b->model->hyper;
    struct mixture mixture = {.kind = kind, .experts = h->experts, .width = h->expert_feed_forward};
    if (b->graph->status != CLINFER_OK || !route(b, x, &mixture)) return NULL;
    if (mixture.width == 0) mixture.width = ci_build_layer(b)->feed_forward;
    struct ci_tensor *y = gate_and_up(b, &mixture, x);
    y = multiply(b, &mixture, y, "ffn_down_exps", down, x->view.cols, mixture.width);
    struct ci_tensor *in[CI_MAX_INPUTS] = {y, mixture.weights, h->shared_feed_forward ? shared(b, kind, x) : NULL};
    y = ci_build_op(b, &ci_op_combine, "ffn_combine", in, NULL);
    return kind->shared_mean && in[2] ? ci_build_scale(b, "ffn_mean", y, 0.5f) : y;
}
