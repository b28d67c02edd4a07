#!/usr/bin/env python3
"""Vectors, scores and tokens of `clinfer serve`: /v1/embeddings, /embeddings, /rerank, /tokenize, /detokenize. TAP."""
import base64
import os
import struct
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402
import tiny_bert  # noqa: E402

FOLDER = tempfile.TemporaryDirectory(prefix="clinfer-embeddings-")
BERT, RANK = os.path.join(FOLDER.name, "bert.gguf"), os.path.join(FOLDER.name, "rank.gguf")
tiny_bert.write(BERT)
tiny_bert.write(RANK, rank=True)


def refused(server, path, body, status, *words):
    got, _, answer = server.ask("POST", path, body)
    assert got == status, (got, answer)
    for word in words:
        assert word in answer["error"]["message"], answer


def near(a, b):
    return len(a) == len(b) and all(abs(x - y) < 1e-5 for x, y in zip(a, b))


def vector(server, body, path="/v1/embeddings"):
    return server.post(path, body)["data"][0]["embedding"]


def test_vectors_in_openais_shape():
    with serving.Serve("-m", BERT, "--alias", "tiny") as server:
        answer = server.post("/v1/embeddings", {"input": ["the sky is blue", "the sky"], "model": "text-embedding-3"})
        assert answer["object"] == "list" and answer["model"] == "tiny", answer
        assert answer["usage"] == {"prompt_tokens": 6 + 4, "total_tokens": 6 + 4}, answer["usage"]
        assert [item["index"] for item in answer["data"]] == [0, 1]
        vectors = [item["embedding"] for item in answer["data"]]
        for one in vectors:
            assert len(one) == tiny_bert.WIDTH and abs(sum(x * x for x in one) - 1) < 1e-5
        assert not near(*vectors)
        coded = vector(server, {"input": "the sky is blue", "encoding_format": "base64"})
        assert near(struct.unpack(f"<{tiny_bert.WIDTH}f", base64.b64decode(coded)), vectors[0])
        short = vector(server, {"input": "the sky is blue", "dimensions": 8})
        scale = sum(x * x for x in vectors[0][:8]) ** 0.5
        assert near(short, [x / scale for x in vectors[0][:8]])
        refused(server, "/v1/embeddings", {"input": "the", "dimensions": 33}, 400, "dimensions", "32")
        refused(server, "/v1/embeddings", {"input": "the", "encoding_format": "int8"}, 400, "encoding_format")


def test_inputs_of_all_forms():
    with serving.Serve("-m", BERT) as server:
        text = vector(server, {"input": "the sky"})
        same = [[2, 4, 5, 3], {"prompt_string": "the sky"},
                {"content": [{"type": "text", "text": "the "}, {"type": "text", "text": "sky"}]}]
        for one in same:
            assert near(vector(server, {"input": one}), text), one
            assert near(server.post("/v1/embeddings", {"input": ["is", one]})["data"][1]["embedding"], text), one
        assert len(server.post("/v1/embeddings", {"input": [[4, 5], [4, "blue"], "sky"]})["data"]) == 3
        for wrong in [[], None, {}, {"content": "x"}, {"content": [{"type": "image_url"}]}, [["the", {}]], [1.5]]:
            refused(server, "/v1/embeddings", {"input": wrong}, 400)
        refused(server, "/v1/embeddings", {}, 400, "input")
        # LangChain sends ids of another vocabulary.
        refused(server, "/v1/embeddings", {"input": [[9906, 1917]]}, 400, "9906", "vocabulary")
        refused(server, "/v1/embeddings", {"input": [[-1]]}, 400, "vocabulary")
        refused(server, "/v1/embeddings", {"input": [[2 ** 40]]}, 400, "vocabulary")
        refused(server, "/v1/embeddings", {"input": "sky " * 100}, 400, "too large", "102")
        assert vector(server, {"input": ""}) # what the model puts around a text is one


def test_rows_of_all_tokens():
    with serving.Serve("-m", BERT, "--pooling", "none") as server:
        rows = server.post("/embeddings", {"input": ["the sky", "is"]})
        assert [len(item["embedding"]) for item in rows] == [4, 3]
        assert abs(sum(x * x for x in rows[0]["embedding"][0]) - 1) > 1e-3
        refused(server, "/v1/embeddings", {"input": "the"}, 400, "none")
    with serving.Serve("-m", BERT) as server:
        first = server.post("/embedding", {"content": "the sky", "embd_normalize": -1})[0]["embedding"]
        assert len(first) == 1 and near(first[0], rows[0]["embedding"][0])


def test_a_model_that_writes_makes_vectors_too():
    with serving.Serve() as server:
        vectors = server.post("/v1/embeddings", {"input": ["a b", "a c"]})["data"]
        assert not near(vectors[0]["embedding"], vectors[1]["embedding"])
        assert server.post("/v1/completions", {"prompt": "a", "max_tokens": 2})["choices"]
        refused(server, "/rerank", {"query": "a", "documents": ["b"]}, 501, "reranking")


def test_scores_in_both_shapes():
    documents = ["the sky", "is blue", "machine learning is ."]
    with serving.Serve("-m", RANK) as server:
        body = {"query": "the sky is", "documents": documents}
        answer = server.post("/v1/rerank", body)
        assert sorted(item["index"] for item in answer["results"]) == [0, 1, 2]
        scores = [item["relevance_score"] for item in answer["results"]]
        assert scores == sorted(scores, reverse=True) and len(set(scores)) == 3, scores
        assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] == 3 * 5 + 2 + 2 + 4
        for path in ["/rerank", "/reranking", "/v1/reranking"]:
            assert server.post(path, body)["results"] == answer["results"]
        assert server.post("/rerank", {**body, "top_n": 1})["results"] == answer["results"][:1]
        assert len(server.post("/rerank", {**body, "top_n": 99})["results"]) == 3
        tei = server.post("/rerank", {"query": body["query"], "texts": documents, "return_text": True})
        assert [(item["index"], item["score"]) for item in tei] == list(
            (item["index"], item["relevance_score"]) for item in answer["results"])
        assert tei[0]["text"] == documents[tei[0]["index"]]
        with_text = server.post("/rerank", {**body, "documents": [{"text": d} for d in documents],
                                            "return_documents": True})["results"]
        assert with_text[0]["document"]["text"] == documents[with_text[0]["index"]]
        for wrong in [[], None, 123, [1, 2, 3], "the"]:
            refused(server, "/rerank", {"query": "the", "documents": wrong}, 400, "documents")
        refused(server, "/rerank", {"documents": documents}, 400, "query")
        refused(server, "/rerank", {"query": ["the"], "documents": documents}, 400, "query")
        refused(server, "/rerank", {"query": "the", "documents": documents, "top_n": "x"}, 400, "top_n")


def test_tokens_and_back():
    with serving.Serve("-m", BERT) as server:
        assert server.post("/tokenize", {"content": "the sky"})["tokens"] == [4, 5]
        assert server.post("/tokenize", {"content": "the sky", "add_special": True})["tokens"][:3] == [2, 4, 5]
        assert server.post("/v1/tokenize", {"content": ["the", 7, "is"]})["tokens"] == [4, 7, 6]
        pieces = server.post("/tokenize", {"content": "blue", "with_pieces": True})["tokens"]
        assert pieces[0]["id"] == 7 and "blue" in pieces[0]["piece"], pieces
        assert server.post("/tokenize", {})["tokens"] == []
        assert "sky" in server.post("/detokenize", {"tokens": [4, 5]})["content"]
        refused(server, "/detokenize", {"tokens": [4, 999]}, 400, "999", "vocabulary")
        refused(server, "/tokenize", {"content": [1.5]}, 400, "content")
        refused(server, "/infill", {"input_prefix": "a", "input_suffix": "b"}, 501, "infill")
        refused(server, "/infill", {"input_suffix": "b"}, 400, "input_prefix")
        refused(server, "/infill", {"input_prefix": "a", "input_suffix": "b", "input_extra": [{}]}, 400, "input_extra")
    with serving.Serve() as server: # half characters are bytes
        tokens = server.post("/tokenize", {"content": "é", "with_pieces": True})["tokens"]
        whole = server.post("/detokenize", {"tokens": [item["id"] for item in tokens]})["content"]
        assert whole == "é", (tokens, whole)


def test_many_ask_at_once():
    with serving.Serve("-m", BERT) as server:
        expected = vector(server, {"input": "the sky is blue"})
        wrong = []

        def ask():
            for _ in range(5):
                answer = server.post("/v1/embeddings", {"input": ["is", "the sky is blue", "blue"]})["data"]
                if not near(answer[1]["embedding"], expected):
                    wrong.append(answer)
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong, wrong[0]


def test_a_device_that_is_lost_is_left():
    layer = os.path.join(os.path.dirname(serving.TOOL), "tests/fault/fake_layer.so")
    if not os.path.exists(layer):
        raise tap.Skip("tests/fault/fake_layer.so is not built")
    # Kernels are proven by running them, as often as it takes: the first server does that, so that it is while vectors
    # are made that the device is lost.
    proven = {"OPENCL_LAYERS": layer, "FAKE_LAYER": "", "XDG_CACHE_HOME": os.path.join(FOLDER.name, "cache")}
    with serving.Serve("-m", BERT, "--device", "auto", environment=proven) as server:
        if "no OpenCL device" in server.said():
            raise tap.Skip("there is no OpenCL device")
        first = vector(server, {"input": "the sky is blue"})
        vector(server, {"input": ["the sky is blue", "blue"]})
    faults = {**proven, "FAKE_LAYER": "clEnqueueNDRangeKernel@400:lost"}
    with serving.Serve("-m", BERT, "--device", "auto", environment=faults) as server:
        for _ in range(60):
            again = vector(server, {"input": ["the sky is blue", "blue"]})
            assert all(abs(a - b) < 1e-2 for a, b in zip(first, again)), (first, again)
        assert "go on elsewhere" in server.said(), server.said()


if __name__ == "__main__":
    tap.main(globals())
