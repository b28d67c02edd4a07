/* kind.h: what a file is that somebody took for a model. Whoever fetches models meets pointers, web pages, checkpoints
 * of other programs and parts of models; "damaged" would send him to fetch the same file again. So each of these kinds
 * has a sentence of its own, which says what it is and what to do next; they all stand here, for the library and the
 * tool alike.
 *
 * CLINFER_UNSUPPORTED is what another program could use, CLINFER_BAD_FILE what nobody can. CLINFER_OK says only that
 * nothing is known against it. Every message begins with `name`. */
#ifndef CI_FORMAT_KIND_H
#define CI_FORMAT_KIND_H

#include <clinfer.h>
#include <stddef.h>
#include <stdint.h>

struct ci_gguf;

/* Before it is opened: an address (URL), a folder, a FIFO, socket or device. Never waits. A path at which there is
 * nothing is fine here. */
enum clinfer_status ci_kind_check_path(const char *path);

/* A file that does not begin as a GGUF file of this machine's byte order does: empty, a git-lfs pointer, a web page,
 * SafeTensors, pickles, archives, GGML's older formats, text. */
enum clinfer_status ci_kind_check_bytes(const char *name, const uint8_t *data, size_t size);

/* Of a part of a split model, by its name: NAME-00002-of-00003.gguf. The length of NAME, its folders with it; 0: it is
 * called otherwise. */
size_t ci_kind_split_name(const char *path, int *number, int *count);

/* Of a GGUF file whether it holds a model: not an adapter, an importance matrix, a
 * multimodal projector, a control vector. */
enum clinfer_status ci_kind_check_metadata(const struct ci_gguf *gguf);

/* CLINFER_UNSUPPORTED: it has no tensors at all, but a vocabulary, perhaps. */
enum clinfer_status ci_kind_check_weights(const struct ci_gguf *gguf);

/* For a GGUF file that ends too early or begins with something else: CLINFER_UNSUPPORTED when its name says that it is
 * one piece of a file that was cut up ("model.gguf.part1of3"), so that fetching it again would not help. */
enum clinfer_status ci_kind_check_piece(const char *name);

#endif
