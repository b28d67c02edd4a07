/* projection.c: matrices side by side with what the file adds to them: biases, and a scale per matrix (of formats whose
 * blocks have too few bits for their range). Biases alone are an input of the product. With a scale product and bias
 * become one affine op behind it, whose vectors are computed here once, so that in either order of scale and bias there
 * is one op and no number is divided. */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "model/model.h"

enum clinfer_status ci_projection_add(struct ci_projection_load *load, int index, bool required, const char *stem,
                                      int64_t rows, int64_t cols) {
    struct ci_projection *projection = load->projection;
    enum clinfer_status status =
        ci_model_weight(load->model, &projection->weights[index], required, rows, cols, "%s.weight", stem);
    if (status == CLINFER_OK)
        status = ci_model_weight(load->model, &projection->biases[index], false, 1, rows, "%s.bias", stem);
    if (status == CLINFER_OK && load->scaling != CI_NOT_SCALED)
        status = ci_model_weight(load->model, &load->scales[index], false, 1, 1, "%s.scale", stem);
    return status;
}

/* Numbers lie anywhere in the file. */
static float number_of(const struct ci_tensor *tensor, int64_t index, float otherwise) {
    float number = otherwise;
    if (tensor) memcpy(&number, (const float *)tensor->host + index, sizeof number);
    return number;
}

enum clinfer_status ci_projection_finish(struct ci_projection_load *load) {
    struct ci_projection *projection = load->projection;
    bool scaled = false, shifted = false;
    int64_t cols = 0, at = 0;
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) {
        scaled = scaled || load->scales[i];
        shifted = shifted || projection->biases[i];
        cols += projection->weights[i] ? projection->weights[i]->view.rows : 0;
    }
    if (!scaled) return CLINFER_OK;
    float *factors, *offsets = NULL;
    projection->factors = ci_model_computed(load->model, "factors", cols, &factors);
    if (shifted) projection->offsets = ci_model_computed(load->model, "offsets", cols, &offsets);
    if (!projection->factors || (shifted && !projection->offsets))
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", ci_gguf_path(load->model->gguf));
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS && projection->weights[i]; i++) {
        float scale = number_of(load->scales[i], 0, 1), of_bias = load->scaling == CI_SCALES_SUM ? scale : 1;
        for (int64_t row = 0; row < projection->weights[i]->view.rows; row++, at++) {
            factors[at] = scale;
            if (shifted) offsets[at] = of_bias * number_of(projection->biases[i], row, 0);
        }
        projection->biases[i] = NULL;
    }
    return CLINFER_OK;
}
